"""Streams: the order in which labelled target images arrive, and in which batches.

A stream is what a method lives through between two resets. Each kind stands for a setting of the field
(docs/how-to/evaluate.md). Streams are drawn from the seed and from file names, so every method sees the same batches.
The orders `label-shift` and `bursts` alone look at labels: classes that come together are what they simulate. No method
ever does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from gformer_cli.data.corruptions import CORRUPTIONS, SEVERITIES
from gformer_cli.data.orders import ORDERS, Item, Ordering, changed_at
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, ImageFiles
from gformer_cli.folders.image_files import in_order_of
from gformer_cli.seeding import derive_seed

BATCH_SIZES = (1, 2, 4, 8, 16, 64, 128)
SAMPLE = 400
"""Images, over all domains, that `batch-sizes` and `--shifts` use: batches of one over everything would take hours."""
SKEW = 0.1
"""Of `label-shift`, where nothing else is said."""
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
    skew: float = SKEW
    """Of `label-shift`: concentration of the Dirichlet distribution; small is skewed, 0 is one class at a time."""
    order: str | None = None
    """One of `ORDERS`, in which images come; None: shuffled."""
    time: Callable[[Item], float] = changed_at
    """Of `arrival`: when an image arrived."""
    source: Sequence[Domain] = ()
    """Held-out source images, which `forgetting` returns to."""


def stationary(options: StreamOptions) -> list[Stream]:
    """Each target alone, shuffled: one camera in one condition, classes in no order."""
    return [
        _stream("stationary", domain.name, options.batch_size, _ordered(domain, options)) for domain in options.targets
    ]


def dynamic(options: StreamOptions) -> list[Stream]:
    """Each batch from another target, drawn at random: many cameras report to one model."""
    rng = random.Random(derive_seed(options.seed, "dynamic"))
    waiting = [_cut(_ordered(domain, options), options.batch_size) for domain in options.targets]
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
    return [_stream("mixed", "all", options.batch_size, _in_order(items, "all", options))]


def recurring(options: StreamOptions) -> list[Stream]:
    """The targets one after another, `ROUNDS` times: day and night. Errors that add up show here.

    Each round brings other images of a target, as a camera does: a method is not asked what it has seen already. Where
    images come in an order, time goes on from round to round.
    """
    waiting = [_cut(_ordered(domain, options), options.batch_size) for domain in options.targets]
    rounds = _following if options.order else _alternating
    batches = chain.from_iterable(rounds(cut, number) for number in range(ROUNDS) for cut in waiting)
    return [Stream("recurring", "all", options.batch_size, tuple(batches))]


def _alternating(batches: list[StreamBatch], number: int) -> list[StreamBatch]:
    return batches[number::ROUNDS]


def _following(batches: list[StreamBatch], number: int) -> list[StreamBatch]:
    start = sum(len(_alternating(batches, earlier)) for earlier in range(number))
    return batches[start : start + len(_alternating(batches, number))]


def gradual(options: StreamOptions) -> list[Stream]:
    """Each target under a corruption that grows to severity 5 and fades: fog comes and goes."""
    found: list[Stream] = []
    for domain in options.targets:
        rng = random.Random(derive_seed(options.seed, "gradual", domain.name))
        name, seed = rng.choice(sorted(CORRUPTIONS)), rng.getrandbits(32)
        batches = _cut(_ordered(domain, options), options.batch_size)
        grown: list[StreamBatch] = []
        for number, batch in enumerate(batches):
            # 0 at both ends, 1 in the middle
            height = 1.0 - abs(2.0 * (number + 0.5) / len(batches) - 1.0)
            severity = round(height * SEVERITIES[-1])
            grown.append(StreamBatch(batch.items, Condition(name, severity, seed) if severity else None))
        found.append(Stream("gradual", domain.name, options.batch_size, tuple(grown)))
    return found


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


COMBINED = {
    "stationary": stationary,
    "dynamic": dynamic,
    "mixed": mixed,
    "recurring": recurring,
    "gradual": gradual,
}
"""Streams whose images may come in any of `ORDERS`."""
STREAMS = (*COMBINED, *ORDERS, "batch-sizes", "forgetting")
"""An order alone is that of `stationary`. `KIND+ORDER` names the others, such as `mixed+label-shift`."""
COMBINATIONS = tuple(f"{kind}+{order}" for kind in COMBINED if kind != "stationary" for order in ORDERS)
NEEDS_SOURCE = ("forgetting",)
NOT_IN_ALL = ("arrival",)
"""It says something only where files kept their times."""
ALIASES = {"mixed-domains": "mixed", "correlated": "label-shift", "practical": "recurring+label-shift"}
"""What benchmarks of test-time adaptation call some of them."""


def stream_name(word: str) -> str:
    """The name that `word` stands for, where there is one: an alias, parts in any order, `_` in the place of `-`.

    Raises `InputError` for two orders in one.
    """
    parts = [ALIASES.get(part, part) for part in word.replace("_", "-").split("+")]
    orders = [part for part in parts if part in ORDERS]
    kinds = [part for part in parts if part not in ORDERS]
    if len(orders) > 1:
        raise InputError(
            f"two orders cannot be joined: {word!r}",
            f"Name one alone, or several apart: {','.join(dict.fromkeys(orders))}.",
        )
    if orders and kinds == ["stationary"]:
        kinds = []
    return "+".join([*kinds, *orders])


def streams_of(name: str, options: StreamOptions) -> list[Stream]:
    """Those of a kind, by its name in `STREAMS` or `COMBINATIONS`."""
    if name == "forgetting":
        return forgetting(options)
    if name == "batch-sizes":
        return batch_sizes(options)
    kind, _, order = name.rpartition("+") if name.rpartition("+")[2] in ORDERS else (name, "", "")
    made = COMBINED[kind or "stationary"](replace(options, order=order or None))
    return [replace(stream, kind=name) for stream in made]


def shifts(
    source: Sequence[Domain],
    batch_size: int,
    seed: int,
    corruptions: Iterable[str] = CORRUPTIONS,
    severities: Iterable[int] = SEVERITIES,
) -> list[Stream]:
    """Held-out source images, at most `SAMPLE`, under each corruption at each severity, and as they are."""
    severities = list(severities)
    share = max(1, SAMPLE // len(source))
    items = list(chain.from_iterable(_shuffled(domain, seed)[:share] for domain in source))
    random.Random(derive_seed(seed, "shifts")).shuffle(items)
    found = [_named(items, PLAIN, 0, batch_size, seed)]
    found += [_named(items, name, severity, batch_size, seed) for name in corruptions for severity in severities]
    return found


def _named(items: Sequence[Item], name: str, severity: int, batch_size: int, seed: int) -> Stream:
    condition = Condition(name, severity, derive_seed(seed, "shifts", name)) if severity else None
    batches = tuple(StreamBatch(b.items, condition) for b in _cut([Item(name, i.file) for i in items], batch_size))
    return Stream("shifts", name, batch_size, batches, severity)


def arrival_order(domain: Domain, seed: int) -> ImageFiles:
    """The images of one domain, shuffled by `seed`.

    The order depends on file names alone, not on class folders: relabelling an image moves no batch.
    """
    order = in_order_of(file.name for file in domain.files)
    random.Random(derive_seed(seed, "stationary", domain.name)).shuffle(order)
    return domain.files.at(order)


def _shuffled(domain: Domain, seed: int) -> list[Item]:
    return [Item(domain.name, file) for file in arrival_order(domain, seed)]


def _ordered(domain: Domain, options: StreamOptions) -> list[Item]:
    return _in_order(_shuffled(domain, options.seed), domain.name, options)


def _in_order(items: Sequence[Item], name: str, options: StreamOptions) -> list[Item]:
    if options.order is None:
        return list(items)
    return ORDERS[options.order](items, Ordering(name, options.seed, options.skew, options.time))


def _stream(kind: str, part: str, batch_size: int, items: Iterable[Item]) -> Stream:
    return Stream(kind, part, batch_size, tuple(_cut(list(items), batch_size)))


def _cut(items: Sequence[Item], batch_size: int) -> list[StreamBatch]:
    return [StreamBatch(tuple(items[start : start + batch_size])) for start in range(0, len(items), batch_size)]
