"""Running the service until it is stopped."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import uvicorn
from fastapi import FastAPI

from gformer_cli.errors import InputError

_BACKLOG = 128


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `InputError` where that is not allowed, or the port is taken."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server((address[0], port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}", "Give another --port or --host."
        ) from None


def url_of(listening: socket.socket) -> str:
    """Where a client finds it."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: FastAPI, listening: socket.socket, stopping: Callable[[], None]) -> int | None:
    """Serve until SIGTERM or Ctrl-C: then accept nothing more, finish what was accepted, and return the signal.

    `stopping` is called when that begins. A second Ctrl-C does not wait for its end.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the client is told what is wrong with a body
    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none", server_header=False)
    server = _Server(config, stopping)
    with _stopping(server) as signals:
        server.run([listening])
    return signals[0] if signals else None


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn raises them once more at its end. Says when it stops."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def _stopping(server: uvicorn.Server) -> Iterator[list[int]]:
    signals: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and signal.SIGINT in signals:
            server.force_exit = True
        signals.append(number)
        server.should_exit = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
