"""Streams: the order in which labelled target images arrive, and in which batches.

A stream is what a method lives through between two resets. Each kind stands for a setting of the field
(docs/how-to/evaluate.md). Streams are drawn from the seed and from file names, so every method sees the same batches.
Only `label-shift` looks at labels: skewed classes are what it simulates. No method ever does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from gformer_cli.data.corruptions import CORRUPTIONS, SEVERITIES
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles
from gformer_cli.seeding import derive_seed

BATCH_SIZES = (1, 2, 4, 8, 16, 64, 128)
SAMPLE = 400
"""Images, over all domains, that `batch-sizes` and `--shifts` use: batches of one over everything would take hours."""
PLAIN = "(none)"
"""What `--shifts` calls the images as they are."""
ROUNDS = 3
"""How often each target comes in `recurring`."""
SOURCE_AGAIN = "(source again)"
"""What `forgetting` calls the source images after the targets."""


@dataclass(frozen=True)
class Condition:
    """A corruption of `data.corruptions` under which a batch is seen."""

    corruption: str
    severity: int
    seed: int


@dataclass(frozen=True)
class Item:
    """One image of a stream and the target it belongs to."""

    target: str
    file: ImageFile


@dataclass(frozen=True)
class StreamBatch:
    """Images that are predicted together."""

    items: tuple[Item, ...]
    condition: Condition | None = None


@dataclass(frozen=True)
class Stream:
    """Batches in order; a method is reset before the first."""

    kind: str
    part: str
    """What tells this stream from the others of its kind: a target, a batch size, a corruption; or `all`."""
    batch_size: int
    batches: tuple[StreamBatch, ...]
    severity: int | None = None
    """Of `shifts` alone."""


@dataclass(frozen=True)
class StreamOptions:
    """What streams are made of."""

    targets: Sequence[Domain]
    batch_size: int
    seed: int
    skew: float = 0.1
    """Of `label-shift`: concentration of the Dirichlet distribution; small is skewed, 0 is one class at a time."""
    source: Sequence[Domain] = ()
    """Held-out source images, which `forgetting` returns to."""


def stationary(options: StreamOptions) -> list[Stream]:
    """Each target alone, shuffled: one camera in one condition, classes in no order."""
    return [
        _stream("stationary", domain.name, options.batch_size, _shuffled(domain, options.seed))
        for domain in options.targets
    ]


def dynamic(options: StreamOptions) -> list[Stream]:
    """Each batch from another target, drawn at random: many cameras report to one model."""
    rng = random.Random(derive_seed(options.seed, "dynamic"))
    waiting = [_cut(_shuffled(domain, options.seed), options.batch_size) for domain in options.targets]
    found: list[StreamBatch] = []
    last: list[StreamBatch] | None = None
    while left := [batches for batches in waiting if batches]:
        # weighted by what is left, so that no target is used up long before the others
        others = [batches for batches in left if batches is not last] or left
        last = rng.choices(others, [len(batches) for batches in others])[0]
        found.append(last.pop(0))
    return [Stream("dynamic", "all", options.batch_size, tuple(found))]


def mixed(options: StreamOptions) -> list[Stream]:
    """All targets mixed inside every batch: no batch has one condition."""
    items = list(chain.from_iterable(_shuffled(domain, options.seed) for domain in options.targets))
    random.Random(derive_seed(options.seed, "mixed")).shuffle(items)
    return [_stream("mixed", "all", options.batch_size, items)]


def recurring(options: StreamOptions) -> list[Stream]:
    """The targets one after another, `ROUNDS` times: day and night. Errors that add up show here.

    Each round brings other images of a target, as a camera does: a method is not asked what it has seen already.
    """
    waiting = [_cut(_shuffled(domain, options.seed), options.batch_size) for domain in options.targets]
    batches = chain.from_iterable(cut[number::ROUNDS] for number in range(ROUNDS) for cut in waiting)
    return [Stream("recurring", "all", options.batch_size, tuple(batches))]


def gradual(options: StreamOptions) -> list[Stream]:
    """Each target under a corruption that grows to severity 5 and fades: fog comes and goes."""
    found: list[Stream] = []
    for domain in options.targets:
        rng = random.Random(derive_seed(options.seed, "gradual", domain.name))
        name, seed = rng.choice(sorted(CORRUPTIONS)), rng.getrandbits(32)
        batches = _cut(_shuffled(domain, options.seed), options.batch_size)
        grown: list[StreamBatch] = []
        for number, batch in enumerate(batches):
            # 0 at both ends, 1 in the middle
            height = 1.0 - abs(2.0 * (number + 0.5) / len(batches) - 1.0)
            severity = round(height * SEVERITIES[-1])
            grown.append(StreamBatch(batch.items, Condition(name, severity, seed) if severity else None))
        found.append(Stream("gradual", domain.name, options.batch_size, tuple(grown)))
    return found


def label_shift(options: StreamOptions) -> list[Stream]:
    """Each target with classes that come in waves, Dirichlet-distributed over time (as in NOTE, arXiv 2208.05117)."""
    return [
        _stream("label-shift", domain.name, options.batch_size, _in_waves(domain, options))
        for domain in options.targets
    ]


def batch_sizes(options: StreamOptions) -> list[Stream]:
    """The same images of each target in batches of 1 to 128: `SAMPLE` over all targets.

    A batch that is larger than a target's share gets more of that target's images, so that it is whole.
    """
    share = SAMPLE // len(options.targets)
    return [
        _stream("batch-sizes", domain.name, size, _shuffled(domain, options.seed)[: max(size, share)])
        for size in BATCH_SIZES
        for domain in options.targets
    ]


def forgetting(options: StreamOptions) -> list[Stream]:
    """All targets, then held-out source images (as one more target) without a reset: what adapting cost at home."""
    batches = list(
        chain.from_iterable(_cut(_shuffled(domain, options.seed), options.batch_size) for domain in options.targets)
    )
    for domain in options.source:
        items = [Item(SOURCE_AGAIN, item.file) for item in _shuffled(domain, options.seed)]
        batches += _cut(items, options.batch_size)
    return [Stream("forgetting", "all", options.batch_size, tuple(batches))]


STREAMS: dict[str, Callable[[StreamOptions], list[Stream]]] = {
    "stationary": stationary,
    "dynamic": dynamic,
    "mixed": mixed,
    "recurring": recurring,
    "gradual": gradual,
    "label-shift": label_shift,
    "batch-sizes": batch_sizes,
    "forgetting": forgetting,
}
NEEDS_SOURCE = ("forgetting",)
ALIASES = {"mixed-domains": "mixed", "correlated": "label-shift"}
"""What benchmarks of test-time adaptation call some of `STREAMS`."""


def stream_name(word: str) -> str:
    """The name in `STREAMS` that `word` stands for, where there is one: an alias, or `_` in the place of `-`."""
    name = word.replace("_", "-")
    return ALIASES.get(name, name)


def shifts(source: Sequence[Domain], batch_size: int, seed: int) -> list[Stream]:
    """Held-out source images, at most `SAMPLE`, under every corruption at five severities, and as they are."""
    share = max(1, SAMPLE // len(source))
    items = list(chain.from_iterable(_shuffled(domain, seed)[:share] for domain in source))
    random.Random(derive_seed(seed, "shifts")).shuffle(items)
    found = [_named(items, PLAIN, 0, batch_size, seed)]
    found += [_named(items, name, severity, batch_size, seed) for name in CORRUPTIONS for severity in SEVERITIES]
    return found


def _named(items: Sequence[Item], name: str, severity: int, batch_size: int, seed: int) -> Stream:
    condition = Condition(name, severity, derive_seed(seed, "shifts", name)) if severity else None
    batches = tuple(StreamBatch(b.items, condition) for b in _cut([Item(name, i.file) for i in items], batch_size))
    return Stream("shifts", name, batch_size, batches, severity)


def arrival_order(domain: Domain, seed: int) -> ImageFiles:
    """The images of one domain, shuffled by `seed`.

    The order depends on file names alone, not on class folders: relabelling an image moves no batch.
    """
    names = [file.name for file in domain.files]
    order = sorted(range(len(names)), key=names.__getitem__)
    random.Random(derive_seed(seed, "stationary", domain.name)).shuffle(order)
    return domain.files.at(order)


def _shuffled(domain: Domain, seed: int) -> list[Item]:
    return [Item(domain.name, file) for file in arrival_order(domain, seed)]


def _in_waves(domain: Domain, options: StreamOptions) -> list[Item]:
    items = _shuffled(domain, options.seed)
    by_class: dict[str, list[Item]] = {}
    for item in items:
        by_class.setdefault(str(item.file.label), []).append(item)
    rng = np.random.default_rng(derive_seed(options.seed, "label-shift", domain.name))
    classes = [by_class[name] for name in sorted(by_class)]
    if options.skew == 0.0:
        return list(chain.from_iterable(classes[index] for index in rng.permutation(len(classes))))
    # as many stretches of time as classes; each class spreads over them by its own draw
    stretches: list[list[Item]] = [[] for _ in classes]
    for members in classes:
        shares = rng.dirichlet([options.skew] * len(stretches))
        ends = np.round(np.cumsum(shares) * len(members)).astype(int)
        for number, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            stretches[number] += members[start:stop]
    for stretch in stretches:
        rng.shuffle(stretch)
    return list(chain.from_iterable(stretches))


def _stream(kind: str, part: str, batch_size: int, items: Iterable[Item]) -> Stream:
    return Stream(kind, part, batch_size, tuple(_cut(list(items), batch_size)))


def _cut(items: Sequence[Item], batch_size: int) -> list[StreamBatch]:
    return [StreamBatch(tuple(items[start : start + batch_size])) for start in range(0, len(items), batch_size)]
