"""Processes that share the work of a stage, each on a thread or a few of its own.

Threads within an operation wait for each other at its end; processes do not. So work that falls into independent pieces
(models, episodes) goes to processes of one thread, and what comes out depends neither on how many there are nor on what
else the machine does.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, cast

import torch

from gformer_cli import interrupts
from gformer_cli.errors import WorkError
from gformer_cli.progress import StopRequest

Worker = TypeVar("Worker")
Worker_co = TypeVar("Worker_co", covariant=True)
Result = TypeVar("Result")

_worker: Any = None
"""What this process works with, once `_start` has run in it."""


class Crew(Protocol[Worker_co]):
    """Does pieces of work, each a function of a worker and of arguments."""

    size: int

    def submit(self, piece: Callable[..., Result], *arguments: Any) -> Future[Result]:
        """`piece(worker, *arguments)`, now or later."""

    def notes(self) -> list[str]:
        """What the workers have said since this was last asked."""

    def stop(self) -> None:
        """Ask the workers to come to an end."""


def map_in_order(crew: Crew[Any], piece: Callable[..., Result], arguments: Iterable[tuple[Any, ...]]) -> list[Result]:
    """`piece` on each of `arguments`; results in their order."""
    futures = [crew.submit(piece, *one) for one in arguments]
    return [future.result() for future in futures]


class Alone(Generic[Worker]):
    """A crew of this process alone: work is done at once, and its errors are raised by `submit`."""

    size = 1

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def submit(self, piece: Callable[..., Result], *arguments: Any) -> Future[Result]:
        future: Future[Result] = Future()
        future.set_result(piece(self.worker, *arguments))
        return future

    def notes(self) -> list[str]:
        return []

    def stop(self) -> None:
        pass


@dataclass(frozen=True)
class Line:
    """What connects a worker with the process that gave it work."""

    said: Any
    """A queue of notes."""
    stopped: Any
    """An event."""
    number: int = 0
    """Of the worker, from 0."""

    def say(self, note: str) -> None:
        self.said.put(note)


class Asked(StopRequest):
    """A worker's stop request: whether the process that gave it work has asked."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def requested(self) -> bool:  # type: ignore[override]
        return bool(self._line.stopped.is_set())


class Processes(Generic[Worker]):
    """`size` processes of `threads` threads each; `build(line, *arguments)` makes the worker of each."""

    def __init__(self, size: int, threads: int, build: Callable[..., Worker], *arguments: Any) -> None:
        self.size = size
        context = _context()
        self._line = Line(context.Queue(), context.Event())
        # pickled here, without torch's own way for tensors, which needs shared memory that containers have little of
        packed = pickle.dumps((build, arguments))
        numbers = context.Queue()
        for number in range(size):
            numbers.put(number)
        self._pool = ProcessPoolExecutor(
            size, mp_context=context, initializer=_start, initargs=(threads, self._line, numbers, packed)
        )

    def __enter__(self) -> Processes[Worker]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._pool.shutdown(cancel_futures=True)

    def submit(self, piece: Callable[..., Result], *arguments: Any) -> Future[Result]:
        work = pickle.dumps((piece, arguments))
        try:
            with interrupts.held_back():  # processes that start now are not to hear of Ctrl-C while they import
                packed = self._pool.submit(_do, work)
        except BrokenProcessPool:
            raise _killed() from None
        future: Future[Result] = Future()
        packed.add_done_callback(lambda done: _unpack(done, future))
        return future

    def notes(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(str(self._line.said.get_nowait()))
            except queue.Empty:
                return found

    def stop(self) -> None:
        self._line.stopped.set()

    def cancel(self) -> None:
        """Begin no piece that has not begun."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _unpack(done: Future[bytes], future: Future[Any]) -> None:
    if done.cancelled():
        future.cancel()
        future.set_running_or_notify_cancel()  # whoever waits for it is told
    elif (error := done.exception()) is None:
        future.set_result(pickle.loads(done.result()))
    else:
        future.set_exception(_killed() if isinstance(error, BrokenProcessPool) else error)


class Killed(WorkError):
    """A process of a crew has gone."""


def _killed() -> Killed:
    return Killed(
        "a process that shared the work was killed, perhaps because memory ran out",
        "Go on with --resume, and with --threads 1 if memory is short.",
    )


def _context() -> multiprocessing.context.SpawnContext:
    """How processes are started: never by a fork of this one, which would inherit locks of threads it does not have."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["torch", "torchvision", __name__])  # imported once, not once a process
    return cast(multiprocessing.context.SpawnContext, made)


def begin_process(threads: int) -> None:
    """What a process of ours does first: signals and the end are its parent's affair, and its threads are few."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _start(threads: int, line: Line, numbers: Any, packed: bytes) -> None:
    global _worker
    begin_process(threads)
    build, arguments = pickle.loads(packed)
    try:
        _worker = build(replace(line, number=numbers.get()), *arguments)
    except Exception as error:  # raised here it would be told as a process that died
        _worker = error


def _do(packed: bytes) -> bytes:
    if isinstance(_worker, Exception):
        raise _worker
    piece, arguments = pickle.loads(packed)
    return pickle.dumps(piece(_worker, *arguments))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # killed hard, the parent could not tell us to stop
