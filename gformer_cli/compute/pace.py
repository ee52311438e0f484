"""How many threads the next step runs on: as many as were fastest when that was last looked at.

On an idle machine all of them are. Beside other work they wait for each other at every operation, and one is faster.
"""

from __future__ import annotations

import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gformer_cli.compute.threads import Cores

ROUNDS = 3
"""Steps on all threads and on one, in turn, that a look takes; one more of each comes before them and is not counted:
the first step on another number of threads wakes them."""
LOOK_AGAIN = 20.0
"""Seconds after which it is looked again at the earliest."""
SHARE = 0.02
"""Of the time, at most, that steps on the slower number of threads may take for being looked at."""
SLOWER = 1.4
"""Steps that take so many times what they took in the last look say that something else has begun to run."""
_RECENT = 3
_IDLE = 0.5
"""Running processes, on the average of the last minute: with fewer, a start on all threads needs no look."""


class Pace:
    """Runs the steps of a loop on one thread or on `most`, whichever was faster; sets torch's number of threads.

    The steps that are timed are the loop's own: nothing is done twice. Rounding depends on the number of threads, as it
    does on the processor. With `most` of 1, or `fixed`, nothing is tried and nothing varies.
    """

    def __init__(
        self,
        most: int,
        *,
        fixed: bool = False,
        chosen: Callable[[int], None] = lambda _: None,
        clock: Callable[[], float] = time.perf_counter,
        idle: Callable[[], bool] | None = None,
    ) -> None:
        """`chosen` is told each choice of a number of threads."""
        self.most = most
        self.threads = most
        """What the next step runs on."""
        self._chosen = chosen
        self._clock = clock
        self._varies = most > 1 and not fixed
        self._plan: list[int] = []
        self._seconds: dict[int, list[float]] = {}
        self._relative: dict[int, list[float]] = {}
        self._expected = float("inf")
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._due = self._due_if_slower = clock() + LOOK_AGAIN
        torch.set_num_threads(most)
        if self._varies and not (idle or machine_idle)():
            self._begin_look()
        else:
            chosen(most)

    def fix(self, threads: int) -> None:
        """Run on `threads` threads from now on."""
        self.threads, self._varies = threads, False

    @classmethod
    def of(cls, cores: Cores, chosen: Callable[[int], None] = lambda _: None) -> Pace:
        """A pace within `cores`."""
        return cls(cores.count, fixed=cores.fixed, chosen=chosen)

    @contextmanager
    def step(self, work: float = 1.0) -> Iterator[None]:
        """One step of the loop; `work` makes steps of different size comparable (images, say)."""
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        began = self._clock()
        yield
        if self._varies:
            now = self._clock()
            self._note(now - began, work, now)

    def _begin_look(self) -> None:
        self._plan = [self.most, 1] * (ROUNDS + 1)
        self._seconds, self._relative = {1: [], self.most: []}, {1: [], self.most: []}
        self.threads = self._plan.pop(0)

    def _note(self, seconds: float, work: float, now: float) -> None:
        if not self._seconds:
            self._recent.append(seconds / work)
            slower = len(self._recent) == _RECENT and min(self._recent) > SLOWER * self._expected
            if now >= self._due or (slower and now >= self._due_if_slower):
                self._begin_look()
            return
        self._seconds[self.threads].append(seconds)
        self._relative[self.threads].append(seconds / work)
        if self._plan:
            self.threads = self._plan.pop(0)
        else:
            self._decide(now)

    def _decide(self, now: float) -> None:
        middle = {threads: statistics.median(found[1:]) for threads, found in self._relative.items()}
        best = min(middle, key=lambda threads: (middle[threads], threads))
        cost = sum(sum(seconds) for threads, seconds in self._seconds.items() if threads != best)
        self.threads, self._expected = best, middle[best]
        self._seconds, self._relative = {}, {}
        self._recent.clear()
        self._due = now + max(LOOK_AGAIN, cost / SHARE)
        self._due_if_slower = now + max(LOOK_AGAIN, cost / SHARE) / 4
        self._chosen(best)


@contextmanager
def one_thread() -> Iterator[None]:
    """Within the block torch computes on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine_idle() -> bool:
    """Whether next to nothing has been running here; False where the system does not tell."""
    try:
        return os.getloadavg()[0] < _IDLE
    except (AttributeError, OSError):
        return False
