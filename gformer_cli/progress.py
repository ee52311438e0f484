"""How a stage tells what it is doing, without knowing who listens."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import FrameType
from typing import Protocol


class Progress(Protocol):
    """What a stage needs of its listener; `console.ConsoleProgress` shows it on a terminal."""

    def begin(self, label: str, total: int, done: int = 0) -> None:
        """A task of `total` steps starts (or goes on, with `done` behind it); it ends the one before."""

    def advance(self, note: str = "") -> None:
        """One step is done; `note` holds current figures."""

    def end(self) -> None:
        """The task is over."""

    def message(self, text: str) -> None:
        """A line worth reading."""

    def detail(self, text: str) -> None:
        """A line for those who ask for more."""

    def warning(self, text: str) -> None:
        """A line that must be read."""


class Silent:
    """Listens to nothing."""

    def begin(self, label: str, total: int, done: int = 0) -> None: ...

    def advance(self, note: str = "") -> None: ...

    def end(self) -> None: ...

    def message(self, text: str) -> None: ...

    def detail(self, text: str) -> None: ...

    def warning(self, text: str) -> None: ...


class Together:
    """The progress of several trainings at once, in threads, as one task of `total` steps."""

    def __init__(self, progress: Progress, label: str, total: int) -> None:
        self._progress = progress
        self._label, self._total = label, total
        self._lock = Lock()
        self._begun = False
        self._said: set[str] = set()

    def begin(self, label: str, total: int, done: int = 0) -> None:
        with self._lock:
            if not self._begun:
                self._progress.begin(self._label, self._total)
            self._begun = True
            for _ in range(done):
                self._progress.advance()

    def advance(self, note: str = "") -> None:
        with self._lock:
            self._progress.advance(note)

    def end(self) -> None:
        """Of one training: the whole ends with `finish`."""

    def finish(self) -> None:
        self._progress.end()

    def message(self, text: str) -> None:
        with self._lock:
            if text not in self._said:  # what each of them finds alike is said once
                self._progress.message(text)
            self._said.add(text)

    def detail(self, text: str) -> None:
        with self._lock:
            self._progress.detail(text)

    def warning(self, text: str) -> None:
        with self._lock:
            self._progress.warning(text)


class StopRequest:
    """Whether the user has asked to stop; a stage looks at it between two steps."""

    requested = False
    signal: int | None = None
    """Which signal asked."""

    def agree(self) -> bool:
        """Whether to stop now; asked once a step. Processes that take their steps together come to the same answer."""
        return self.requested


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Within the block Ctrl-C and SIGTERM only set a flag, so that no step is cut in half.

    A second Ctrl-C stops at once. Outside the main thread signals stay as they are.
    """
    request = StopRequest()

    def note(number: int, _frame: FrameType | None) -> None:
        if request.requested:
            raise KeyboardInterrupt
        request.requested, request.signal = True, number

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
