"""Ctrl-C at any moment, also while modules are being imported. Imports nothing that takes time."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STATUS = 130
_seen = False


def install() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt`, and in the middle of an import end the process: there is nothing to finish
    then, and half an import tells of itself with a traceback, or swallows the exception."""
    with suppress(ValueError):  # not the main thread
        signal.signal(signal.SIGINT, _interrupt)


def at_exit() -> None:
    """From now on end the process: the command is done."""
    with suppress(ValueError):
        signal.signal(signal.SIGINT, lambda *_: os._exit(STATUS))


def seen() -> bool:
    """Whether Ctrl-C was pressed. A library may have made another exception of it."""
    return _seen


def leave() -> None:
    """End the process at once, saying so."""
    with suppress(OSError):
        os.write(2, b"error: interrupted\n")
    os._exit(STATUS)


@contextmanager
def held_back() -> Iterator[None]:
    """Within the block Ctrl-C waits; processes that are started in it never hear of it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    global _seen
    _seen = True
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            leave()
        frame = frame.f_back
    raise KeyboardInterrupt
