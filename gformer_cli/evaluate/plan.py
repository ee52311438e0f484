"""What is to be measured, checked before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gformer_cli.bundle import Bundle, Described, StaticHeader
from gformer_cli.data.arrival import read_arrivals
from gformer_cli.data.catalogue import choose_corruptions, smallest_side
from gformer_cli.data.corruptions import CORRUPTIONS, SEVERITIES
from gformer_cli.data.orders import Item, changed_at
from gformer_cli.data.streams import (
    COMBINATIONS,
    NEEDS_SOURCE,
    NOT_IN_ALL,
    SKEW,
    STREAMS,
    Stream,
    StreamOptions,
    arrival_order,
    shifts,
    stream_name,
    streams_of,
)
from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.evaluate.results import REFERENCE
from gformer_cli.export.model import GraphModel, check_graph_device
from gformer_cli.folders.domains import Domain, ImageFiles
from gformer_cli.folders.targets import check_batch_size, check_known_classes
from gformer_cli.methods import METHODS, UNLOADED

EXAMINED = "gformer"
"""The method that a report looks into."""
SHIFTS = "shifts"
"""The stream of `--shifts`: source images under corruptions, no target."""
ALL = "all"
DEFAULT_METHODS = ("source", "bn", "tent", "constant", "gformer")
"""Without `constant` where the bundle holds no constant generator."""
DEFAULT_STREAMS = ("stationary",)


@dataclass(frozen=True)
class Plan:
    """Methods x streams x seeds, on which images."""

    methods: Sequence[str]
    streams: Sequence[str]
    targets: Sequence[Domain]
    batch_size: int
    seeds: Sequence[int]
    skew: float = SKEW
    source: Sequence[Domain] = ()
    """Held-out source images, for `forgetting`, `shifts` and methods that look at the source."""
    time: Callable[[Item], float] = changed_at
    """When an image arrived, for the order `arrival`."""
    corruptions: Sequence[str] = tuple(CORRUPTIONS)
    """Of the stream `SHIFTS`, at which `severities`."""
    severities: Sequence[int] = tuple(SEVERITIES)
    limit: int | None = None
    """Of the stream `SHIFTS`: most images of each source domain. Targets are limited already."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Per method keyword settings other than its defaults, as --tune found them."""
    shard: tuple[int, int] = (1, 1)
    """Which of how many parts of the streams are measured here, from 1."""
    examine: bool = False
    """Whether to keep what a report shows of the inside of `gformer`, and images whose label changed."""

    @property
    def choices(self) -> dict[str, object]:
        """What was chosen, as results and --dry-run tell it."""
        return {
            "methods": list(self.methods),
            "streams": list(self.streams),
            "batch_size": self.batch_size,
            "seeds": list(self.seeds),
            **self.chosen_shifts,
        }

    @property
    def chosen_shifts(self) -> dict[str, object]:
        """Corruptions, severities and limit of the stream `SHIFTS`, where there is one."""
        if SHIFTS not in self.streams:
            return {}
        limit = {} if self.limit is None else {"limit": self.limit}
        return {"corruptions": list(self.corruptions), "severities": list(self.severities), **limit}

    @property
    def measured(self) -> list[str]:
        """The methods, and the one that they are measured against."""
        return list(dict.fromkeys([REFERENCE, *self.methods]))

    @property
    def by_arrival(self) -> bool:
        """Whether any stream depends on when images arrived."""
        return any(name.rpartition("+")[2] == "arrival" for name in self.streams)

    def drawn(self) -> list[tuple[int, Stream]]:
        """Every stream with its seed."""
        return [(seed, stream) for seed in self.seeds for name in self.streams for stream in self._streams(name, seed)]

    def own(self) -> list[tuple[int, Stream]]:
        """Those of them that are this shard's."""
        number, count = self.shard
        return self.drawn()[number - 1 :: count]

    def _streams(self, name: str, seed: int) -> list[Stream]:
        if name == SHIFTS:
            source = limited(self.source, self.limit)  # here alone: methods look at all of the source
            return shifts(source, self.batch_size, seed, self.corruptions, self.severities)
        how = StreamOptions(self.targets, self.batch_size, seed, skew=self.skew, source=self.source, time=self.time)
        return streams_of(name, how)


@dataclass(frozen=True)
class Wish:
    """What the command line asks for, before anything is known of the bundle and the images."""

    methods: Sequence[str] | None
    """Words such as `a,b` or `all`; None for the usual ones. So are the streams."""
    streams: Sequence[str] | None
    shifts: bool
    """The stream `SHIFTS` alone."""
    batch_size: int
    seeds: Sequence[int]
    skew: float
    limit: int | None
    """Most images of each target; of each source domain where `shifts`."""
    examine: bool
    reported: bool
    """Whether there will be a report, which shows what `examine` keeps."""
    shard: tuple[int, int] = (1, 1)
    arrival: Path | None = None
    """The table that says when images arrived, for the order `arrival`."""
    corruptions: Sequence[str] | None = None
    """Words that name corruptions for the stream `SHIFTS`; None for all of our own."""
    severity: int | None = None
    """The only one of that stream; None for all."""


def make_plan(wish: Wish, bundle: Bundle | GraphModel, targets: Sequence[Domain], *, has_source: bool) -> Plan:
    """The plan that is wished for. Raises `InputError` where it cannot be carried out."""
    methods, streams = impossible_methods(bundle), impossible_streams(has_source=has_source)
    defaults = [name for name in DEFAULT_METHODS if name not in methods]
    plan = Plan(
        methods=choose(wish.methods or defaults, [*METHODS, *UNLOADED], "method", methods),
        streams=[SHIFTS]
        if wish.shifts
        else choose(
            *(wish.streams or DEFAULT_STREAMS, STREAMS, "stream", streams),
            more=COMBINATIONS,
            named=stream_name,
            spare=NOT_IN_ALL,
        ),
        targets=limited(targets, wish.limit),
        batch_size=wish.batch_size,
        seeds=list(dict.fromkeys(wish.seeds)),
        skew=wish.skew,
        examine=wish.examine or wish.reported,
        shard=wish.shard,
        corruptions=choose_corruptions(wish.corruptions or [ALL]),
        severities=list(SEVERITIES) if wish.severity is None else [wish.severity],
        limit=wish.limit if wish.shifts else None,
    )
    check_plan(plan, bundle)
    if wish.arrival is not None:
        if not plan.by_arrival:
            raise InputError(
                "--arrival is for streams in the order of arrival", "Add --streams arrival, or leave it out."
            )
        plan = replace(plan, time=read_arrivals(wish.arrival, plan.targets))
    if wish.examine and EXAMINED not in plan.methods:
        raise InputError(f"--examine looks into {EXAMINED!r}, which is not measured", "Leave it out.")
    return plan


def left_out(wish: Wish, bundle: Bundle | GraphModel, *, has_source: bool) -> list[str]:
    """What `all` cannot mean here, and why."""
    cannot = (wish.methods, impossible_methods(bundle)), (wish.streams, impossible_streams(has_source=has_source))
    return [
        f"left out: {name}. {why}."
        for words, impossible in cannot
        if ALL in _named(words or [])
        for name, why in impossible.items()
    ]


def choose(
    words: Sequence[str],
    choices: Iterable[str],
    noun: str,
    impossible: Mapping[str, str],
    *,
    more: Iterable[str] = (),
    spare: Iterable[str] = (),
    named: Callable[[str], str] = str,
) -> list[str]:
    """Names from words such as `a,b` or `all`, without repetition. `named` gives the name that a word stands for.

    `impossible` tells why some of `choices` cannot be had here: `all` leaves them out, and those of `spare`, and the
    names that there are `more`. Raises `InputError` for one of the impossible that is named, and for an unknown name.
    """
    choices, more = list(choices), list(more)
    names: list[str] = []
    for word in _named(words):
        name = named(word)
        if name not in (*choices, *more, ALL):
            known = [*choices, *(more if "+" in word else []), ALL]
            raise InputError(f"unknown {noun}: {word!r}", did_you_mean(word, known))
        if name in impossible:
            raise InputError(f"the {noun} {name!r} cannot be measured here", f"{impossible[name]}.")
        if name not in names:
            names.append(name)
    if not names:
        raise InputError(f"no {noun} named", f"Known: {', '.join([*choices, ALL])}.")
    if ALL not in names:
        return names
    every = [name for name in choices if name not in (*impossible, *spare)]
    return [*every, *(name for name in names if name not in (*every, ALL))]


def impossible_methods(bundle: Bundle | GraphModel) -> dict[str, str]:
    """Methods that a bundle cannot be measured with, and why; or an exported file."""
    if isinstance(bundle, GraphModel):
        able = {"source", EXAMINED, *(["gformer-guard"] if bundle.guard is not None else [])}
        why = "An exported file holds no network that it could adapt; measure the bundle that it was made from"
        return {name: why for name in METHODS if name not in able} | UNLOADED
    found = {name: method.obstacle(bundle.backbone) for name, method in METHODS.items()}
    reasons = {name: why for name, why in found.items() if why is not None} | UNLOADED
    static = bundle.header.static is not None
    if bundle.constant is None:
        reasons["constant"] = (
            "A static bundle holds no constant generator; measure the bundle that it was made from"
            if static
            else "This bundle holds no constant generator; meta-train with meta_train.constant=true makes one"
        )
    if static:
        reasons["gformer-context"] = "A static bundle predicts every batch with the same parameters"
    if bundle.guard is None:
        reasons["gformer-guard"] = (
            "A static bundle has no guard: it generates nothing"
            if static
            else "This bundle holds no calibrated guard; gformer meta-train makes one"
        )
    return reasons


def impossible_streams(*, has_source: bool) -> dict[str, str]:
    """Streams that cannot be made without --source, and why."""
    return {} if has_source else dict.fromkeys(NEEDS_SOURCE, "It needs the source images: add --source DIR")


def limited(domains: Sequence[Domain], count: int | None) -> list[Domain]:
    """`domains` with at most `count` images each, drawn by file name; whole without a count.

    Raises `InputError` for a count below one.
    """
    if count is None:
        return list(domains)
    if count < 1:
        raise InputError(
            f"--limit must be 1 or more, got {count}",
            "It is the most images of each target; of each source domain under --shifts.",
        )
    drawn = [set(arrival_order(domain, 0)[:count]) for domain in domains]
    return [
        replace(domain, files=ImageFiles(file for file in domain.files if file in own))
        for domain, own in zip(domains, drawn, strict=True)
    ]


def check_graph(path: Path, *, tune: bool, examine: bool, device: str) -> None:
    """Raises `InputError` for an option that can have no effect on the exported file `path`."""
    for option, given in {"--tune": tune, "--examine": examine}.items():
        if given:
            raise InputError(
                f"{option} has no effect on {path}: it holds no network to look into",
                "Leave it out, or measure the bundle that the file was made from.",
            )
    check_graph_device(path, device)


def check_plan(plan: Plan, bundle: Described) -> None:
    """Raises `InputError` for a plan that cannot be carried out."""
    check_batch_size(plan.batch_size)
    if not 0.0 <= plan.skew < float("inf"):
        raise InputError(f"--label-skew must be 0 or more, got {plan.skew}", "0 is one class at a time, 0.1 is strong.")
    size, least = bundle.header.preprocessing.image_size, smallest_side(plan.corruptions)
    if size < least:
        raise InputError(
            f"these corruptions are for images of {least} pixels or more, and the model takes {size}",
            "Choose others, such as: --corruptions all",
        )
    check_known_classes(plan.targets, bundle.header.classes)


def remarks(plan: Plan, *, has_source: bool, static: StaticHeader | None = None, exported: bool = False) -> list[str]:
    """What a user should know of a plan that works all the same.

    `static` is what the bundle's header says; `exported`, that an exported file is measured.
    """
    small = [f"{t.name} ({len(t.files)})" for t in plan.targets if len(t.files) < plan.batch_size]
    single = [t.name for t in plan.targets if sum(count > 0 for count in t.counts.values()) == 1]
    lines: list[str] = []
    if static is not None:
        lines.append(
            f"static bundle: gformer predicts every batch with what was kept from {static.target}; "
            "source is the model before adapting"
        )
    if exported:
        lines.append("exported file: each of its runs gives all its answers, so that every method costs the same here")
    if small:
        lines.append(f"fewer images than one batch of {plan.batch_size}, so batches are smaller: {', '.join(small)}")
    if single:
        lines.append(f"images of one class only, so statistics of a batch mislead: {', '.join(single)}")
    if plan.skew != SKEW and not any(name.rpartition("+")[2] == "label-shift" for name in plan.streams):
        lines.append("--label-skew is for streams in the order label-shift, and there is none: it changes nothing")
    blind = [name for name in plan.methods if METHODS[name].reads_source and not has_source]
    return lines + [f"without --source {name} {METHODS[name].without_source}" for name in blind]


def _named(words: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.strip() for word in words for name in word.split(",") if name.strip()))
