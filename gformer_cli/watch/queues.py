"""Complete images in order of arrival, and which of them are the next batch."""

from __future__ import annotations

import heapq
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Due:
    """A batch whose time has come."""

    domain: str
    count: int
    """Images."""


class Queues:
    """One queue a domain. Times are seconds of one clock that only goes on."""

    def __init__(self) -> None:
        # per domain (modified_ns, relative, since when complete)
        self._queues: dict[str, list[tuple[int, str, float]]] = {}

    def push(self, domain: str, relative: str, modified_ns: int, since: float) -> None:
        """An image that is complete since then goes to the place of its time, then its name."""
        heapq.heappush(self._queues.setdefault(domain, []), (modified_ns, relative, since))

    def pop(self, domain: str) -> tuple[str, float] | None:
        """The next image of `domain` and since when it was complete; None when none is left."""
        queue = self._queues.get(domain)
        if not queue:
            return None
        _, relative, since = heapq.heappop(queue)
        if not queue:
            del self._queues[domain]
        return relative, since

    def due(self, now: float, *, batch_size: int, max_wait: float) -> Due | None:
        """The next batch: a full one, or all images of a domain of which one has waited for `max_wait` seconds.

        Full batches go first, then older images.
        """
        found = [
            (len(queue) < batch_size, queue[0], Due(domain, min(len(queue), batch_size)))
            for domain, queue in self._queues.items()
            if len(queue) >= batch_size or now - min(since for _, _, since in queue) >= max_wait
        ]
        return min(found)[2] if found else None
