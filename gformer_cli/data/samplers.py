"""Which images make a batch: pure functions of a seed and a position, so that any step can be redrawn."""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence

from gformer_cli.seeding import derive_seed


class EndlessShuffle:
    """An endless sequence over `items`: one random order after another, each item once per round."""

    def __init__(self, items: Sequence[int], seed: int) -> None:
        self._items = array("q", items)
        self._seed = seed
        self._round = -1
        self._order = array("q")

    def take(self, start: int, count: int) -> list[int]:
        """The `count` items from position `start` of the sequence."""
        return [self._at(position) for position in range(start, start + count)]

    def _at(self, position: int) -> int:
        number, place = divmod(position, len(self._items))
        if number != self._round:
            self._round, self._order = number, self._items[:]
            random.Random(derive_seed(self._seed, number)).shuffle(self._order)
        return self._order[place]


def shares(total: int, parts: int) -> list[int]:
    """`total` divided over `parts` as evenly as whole numbers allow, at least one each."""
    return [max(1, total // parts + (part < total % parts)) for part in range(parts)]
