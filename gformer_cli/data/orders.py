"""In which order the images of a target come: classes in no order, in waves or in bursts, or as the images arrived.

Each order takes images that are shuffled already, and gives the same ones.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from gformer_cli.errors import InputError
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.opening import status_of
from gformer_cli.seeding import derive_seed

BURST = (8, 32)
"""Fewest and most images of a burst."""


@dataclass(frozen=True)
class Item:
    """One image of a stream and the target it belongs to."""

    target: str
    file: ImageFile


class Ordering(NamedTuple):
    """What an order depends on beside the images."""

    name: str
    """Of the target, or of what is mixed: another one, another draw."""
    seed: int
    skew: float
    """Of waves: concentration of the Dirichlet distribution; 0 is one class at a time."""
    time: Callable[[Item], float]
    """When an image arrived, in any unit."""


def in_waves(items: Sequence[Item], ordering: Ordering) -> list[Item]:
    """Classes that come and go, Dirichlet-distributed over time (as in NOTE, arXiv 2208.05117).

    There are as many stretches of time as classes; each class spreads over them by its own draw.
    """
    rng = np.random.default_rng(derive_seed(ordering.seed, "label-shift", ordering.name))
    classes = _by_class(items)
    if ordering.skew == 0.0:
        return list(chain.from_iterable(classes[index] for index in rng.permutation(len(classes))))
    stretches: list[list[Item]] = [[] for _ in classes]
    for members in classes:
        shares = rng.dirichlet([ordering.skew] * len(stretches))
        ends = np.round(np.cumsum(shares) * len(members)).astype(int)
        for number, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            stretches[number] += members[start:stop]
    for stretch in stretches:
        rng.shuffle(stretch)
    return list(chain.from_iterable(stretches))


def in_bursts(items: Sequence[Item], ordering: Ordering) -> list[Item]:
    """A burst of images of one class, then one of another: a series of shots, a pallet of one part."""
    rng = random.Random(derive_seed(ordering.seed, "bursts", ordering.name))
    waiting: list[list[list[Item]]] = []
    for members in _by_class(items):
        bursts, rest = [], list(members)
        while rest:
            size = rng.randint(*BURST)
            bursts.append(rest[:size])
            del rest[:size]
        waiting.append(bursts)
    found: list[Item] = []
    last: list[list[Item]] | None = None
    while left := [bursts for bursts in waiting if bursts]:
        others = [bursts for bursts in left if bursts is not last] or left
        last = rng.choices(others, [len(bursts) for bursts in others])[0]  # no class is used up long before the others
        found += last.pop()
    return found


def as_arrived(items: Sequence[Item], ordering: Ordering) -> list[Item]:
    """By their times; those of one time by their names."""
    return sorted(items, key=lambda item: (ordering.time(item), item.target, item.file.relative))


ORDERS: dict[str, Callable[[Sequence[Item], Ordering], list[Item]]] = {
    "label-shift": in_waves,
    "bursts": in_bursts,
    "arrival": as_arrived,
}


def changed_at(item: Item) -> float:
    """When an image's file was changed last: mostly when it was taken. Raises `InputError` where it is gone."""
    try:
        return float(status_of(item.file).time)
    except OSError as error:
        raise InputError(
            f"cannot read {item.file.path}: {error.strerror}", "Do not change the target folders meanwhile."
        ) from None


def _by_class(items: Sequence[Item]) -> list[list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(str(item.file.label), []).append(item)
    return [found[name] for name in sorted(found)]
