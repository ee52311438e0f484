"""Which images of a folder that fills are complete, and which of them come next.

A file counts as complete when its size and time have not changed while it was looked at for a while. Where the system
tells that somebody is writing to it, it waits until it is closed. Nothing here reads an image or writes a file.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gformer_cli.folders.domains import nfc
from gformer_cli.watch.contents import Contents, domain_of
from gformer_cli.watch.ledger import Stamp, key_of
from gformer_cli.watch.queues import Due, Queues

SECOND_LOOK = 10
"""What could not be read is looked at again after so many times the settling time."""
LONGEST_WRITE = 60.0
"""Seconds without any change after which a file counts as closed, even if nobody told so."""
RESTLESS = 60.0
"""Seconds, and at least `SECOND_LOOK` settling times, after which a file that goes on changing is told, and no longer
waited for when it is asked whether anything comes."""


@dataclass(slots=True)
class _Candidate:
    stamp: Stamp
    since: float
    """When it was first seen like this."""
    tries: int = 0
    """How often it was read in vain, like this."""
    first: float = 0.0
    """Since when it has been changing without having been complete."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A complete image that has not been predicted."""

    relative: str
    stamp: Stamp
    tries: int
    """How often it was read in vain before."""
    since: float
    """Since when it is known to be complete."""

    @property
    def key(self) -> bytes:
        return key_of(self.relative, self.stamp)


class Incoming:
    """The images below `root` that are not among `known`. Times are seconds of one clock that only goes on.

    Args:
        root: the watched folder.
        settle: seconds for which a file must not have changed.
        known: sets of keys of images that need nothing more.
        classes: sub-folders of these names are no domains.
    """

    def __init__(
        self, root: Path, *, settle: float, known: Collection[set[bytes]], classes: Collection[str] = ()
    ) -> None:
        self.contents = Contents(root)
        self.settle = settle
        self._known = known
        self._classes = {nfc(name) for name in classes}
        self._settling: dict[str, _Candidate] = {}
        self._complete: dict[str, _Candidate] = {}
        self._written_to: set[str] = set()
        self._queues = Queues()
        self.last_arrival = 0.0
        """When a file was last seen to come or to change."""

    @property
    def settling(self) -> int:
        """Files that are not known to be complete yet."""
        return len(self._settling)

    @property
    def waiting(self) -> int:
        """Complete images that no batch has taken."""
        return len(self._complete)

    def domain_of(self, relative: str) -> str:
        """The domain of an image."""
        return domain_of(relative, self._classes)

    def notice(self, relative: str, now: float, *, writing: bool) -> None:
        """Somebody told that a file came or changed."""
        if not self.contents.is_image(relative):
            return
        if writing:
            self._written_to.add(relative)
        else:
            self._written_to.discard(relative)
        if not self._is_candidate(relative):
            with suppress(OSError):
                self._offer(relative, self.contents.stamp(relative), now)
            if not self._is_candidate(relative):  # it has gone, or is known
                self._written_to.discard(relative)

    def scan(self, now: float) -> list[str]:
        """Look at every file; returns those that are known, which is what a move may have left behind.

        Keys of images that have gone are dropped from the known ones, but not where the folder itself may have gone,
        as when a network share is not mounted.
        """
        present: set[bytes] = set()
        left: list[str] = []
        for relative, stamp in self.contents.walk():
            key = key_of(relative, stamp)
            present.add(key)
            if any(key in keys for keys in self._known):
                left.append(relative)
            elif not self._is_candidate(relative):
                self._offer(relative, stamp, now)
        if present and self.contents.is_whole and self.contents.in_place:
            for keys in self._known:
                keys.intersection_update(present)
        return left

    def update(self, now: float) -> list[str]:
        """Put files that have become complete into the queue of their domain; returns those that have gone.

        One that has gone before it was complete only passed by, and is not among them.
        """
        gone = []
        for relative, candidate in list(self._settling.items()):
            if now - candidate.since < self.settle * (SECOND_LOOK if candidate.tries else 1):
                continue
            try:
                stamp = self.contents.stamp(relative)
            except OSError:
                if candidate.tries:
                    gone.append(relative)
                del self._settling[relative]
                self._written_to.discard(relative)
                continue
            if stamp != candidate.stamp:
                self._settle_anew(relative, stamp, now)
            elif relative not in self._written_to or now - candidate.since >= LONGEST_WRITE:
                del self._settling[relative]
                self._written_to.discard(relative)
                self._enqueue(relative, candidate, now)
        return gone

    def due(self, now: float, *, batch_size: int, max_wait: float) -> Due | None:
        """The next batch; see `Queues.due`."""
        return self._queues.due(now, batch_size=batch_size, max_wait=max_wait)

    def take(self, domain: str, count: int, now: float) -> tuple[list[Arrival], list[str]]:
        """Up to `count` images of `domain` in order of arrival, and those that have gone meanwhile.

        One that has changed meanwhile has to settle again.
        """
        taken: list[Arrival] = []
        gone: list[str] = []
        while len(taken) < count and (head := self._queues.pop(domain)) is not None:
            relative, since = head
            candidate = self._complete.pop(relative)
            try:
                stamp = self.contents.stamp(relative)
            except OSError:
                gone.append(relative)
                continue
            if stamp == candidate.stamp:
                taken.append(Arrival(relative, stamp, candidate.tries, since))
            else:
                self._settle_anew(relative, stamp, now)
        return taken, gone

    def put_back(self, arrival: Arrival) -> None:
        """An image that was taken is complete, but its batch is not: it goes to its place in the queue."""
        self._enqueue(arrival.relative, _Candidate(arrival.stamp, arrival.since, arrival.tries), arrival.since)

    def look_again(self, arrival: Arrival, now: float) -> None:
        """An image that was taken could not be read: it may not have been complete."""
        self._settling[arrival.relative] = _Candidate(arrival.stamp, now, arrival.tries + 1, first=now)

    def changed(self, arrival: Arrival, now: float) -> bool:
        """Whether a file that was taken is no longer what it was; then it has to settle again."""
        try:
            stamp = self.contents.stamp(arrival.relative)
        except OSError:
            return False  # it was read before it went
        if stamp == arrival.stamp:
            return False
        self._offer(arrival.relative, stamp, now)
        return True

    def stamp_among(self, keys: set[bytes], relative: str) -> Stamp | None:
        """The stamp of a file as it is now, if its key is one of `keys`."""
        try:
            stamp = self.contents.stamp(relative)
        except OSError:
            return None
        return stamp if key_of(relative, stamp) in keys else None

    def _offer(self, relative: str, stamp: Stamp, now: float) -> None:
        key = key_of(relative, stamp)
        if not any(key in keys for keys in self._known):
            self._settle_anew(relative, stamp, now)

    def _settle_anew(self, relative: str, stamp: Stamp, now: float) -> None:
        before = self._settling.get(relative)
        candidate = _Candidate(stamp, now, first=now if before is None else before.first)
        self._settling[relative] = candidate
        if not self._is_restless(candidate, now):
            self.last_arrival = now

    def _is_restless(self, candidate: _Candidate, now: float) -> bool:
        return now - candidate.first >= max(RESTLESS, SECOND_LOOK * self.settle)

    def restless(self, now: float) -> list[str]:
        """Files that have been changing for so long that nobody knows when they will be complete."""
        return [name for name, candidate in self._settling.items() if self._is_restless(candidate, now)]

    def _enqueue(self, relative: str, candidate: _Candidate, now: float) -> None:
        self._complete[relative] = candidate
        self._queues.push(self.domain_of(relative), relative, candidate.stamp.modified_ns, now)

    def _is_candidate(self, relative: str) -> bool:
        return relative in self._settling or relative in self._complete
