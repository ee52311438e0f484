"""What an audit log tells as a whole. No torch here."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from math import hypot, inf
from typing import Any

from gformer_cli.audit.records import BatchRecord, Figure
from gformer_cli.errors import InputError

PERIODS = 24
"""Most rows of the table over time."""
UNITS = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}


@dataclass
class Values:
    """Mean and range of numbers that are seen one by one; those that are not finite are passed over."""

    count: int = 0
    total: float = 0.0
    low: float = inf
    high: float = -inf

    def add(self, value: Figure) -> None:
        if value is not None:
            self.merge(Values(1, value, value, value))

    def merge(self, other: Values) -> None:
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)

    @property
    def mean(self) -> Figure:
        return self.total / self.count if self.count else None

    def to_json(self) -> dict[str, Figure]:
        return {"min": self.low, "mean": self.mean, "max": self.high} if self.count else {}


@dataclass
class Group:
    """Batches that have something in common: a period, a target, a bundle."""

    first: datetime
    last: datetime
    batches: int
    images: int
    changed: int
    """Images whose label differs from the source model's."""
    seconds: float
    decisions: Counter[str]
    drift: Values
    """Over layers, `mean_shift` and `spread_shift` as one length."""
    confidence: Values

    @classmethod
    def of(cls, record: BatchRecord) -> Group:
        """One batch."""
        time = record.time.astimezone(timezone.utc)
        drift, confidence = Values(), Values()
        for layer in record.layers:
            drift.add(_length(layer.mean_shift, layer.spread_shift))
        for image in record.images:
            confidence.add(image.confidence)
        decisions = Counter([record.decision])
        return cls(time, time, 1, len(record.images), record.changed, record.seconds, decisions, drift, confidence)

    def merge(self, other: Group) -> None:
        """Take in the batches of another group."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.batches += other.batches
        self.images += other.images
        self.changed += other.changed
        self.seconds += other.seconds
        self.decisions.update(other.decisions)
        self.drift.merge(other.drift)
        self.confidence.merge(other.confidence)

    def to_json(self) -> dict[str, Any]:
        return {
            "first": self.first.isoformat(),
            "last": self.last.isoformat(),
            "batches": self.batches,
            "images": self.images,
            "changed": self.changed,
            "decisions": dict(self.decisions),
            "confidence": self.confidence.mean,
            "drift": self.drift.mean,
            "seconds": round(self.seconds, 6),
        }


class Groups(dict[str, Group]):
    """Groups by name."""

    def add(self, name: str, group: Group) -> None:
        """Merge `group` into the one called `name`, or let it be that one."""
        self[name] = _merged(self.get(name), group)

    def to_json(self) -> dict[str, Any]:
        return {name: group.to_json() for name, group in self.items()}


@dataclass
class LayerValues:
    """One layer over all batches; the figures are those of `core.change.Change`."""

    change: Values = field(default_factory=Values)
    """γ's and β's residual as one length; of the classifier, W's."""
    mixing: Values = field(default_factory=Values)
    mean_shift: Values = field(default_factory=Values)
    spread_shift: Values = field(default_factory=Values)

    def to_json(self) -> dict[str, Any]:
        return {name: values.to_json() for name, values in vars(self).items()}


@dataclass
class Summary:
    """A log, taken in batch by batch, so that one of any length fits into memory."""

    whole: Group | None = None
    """All batches together; None before the first."""
    targets: Groups = field(default_factory=Groups)
    bundles: Groups = field(default_factory=Groups)
    """By SHA-256."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By hash."""
    unit: str = "minute"
    """Of `periods`: the finest of `UNITS` that needs no more than `PERIODS`."""
    periods: Groups = field(default_factory=Groups)
    reasons: Counter[str] = field(default_factory=Counter)
    """Batches in which a signal of the guard was out of range, by the signal's name."""
    signals: dict[str, Values] = field(default_factory=lambda: defaultdict(Values))
    layers: dict[str, LayerValues] = field(default_factory=lambda: defaultdict(LayerValues))

    def add(self, record: BatchRecord) -> None:
        """Take in one batch."""
        self.whole = _merged(self.whole, Group.of(record))
        self.targets.add(record.target, Group.of(record))
        self.bundles.add(record.bundle, Group.of(record))
        self.settings[record.settings_hash] = record.settings
        self._add_period(Group.of(record))
        self.reasons.update(record.reasons)
        for name, value in record.signals.items():
            self.signals[name].add(value)
        for layer in record.layers:
            values = self.layers[layer.name]
            values.change.add(_length(layer.gamma, layer.beta))
            values.mixing.add(layer.mixing)
            values.mean_shift.add(layer.mean_shift)
            values.spread_shift.add(layer.spread_shift)
        self.layers[record.classifier.name].change.add(record.classifier.weight)

    def _add_period(self, group: Group) -> None:
        self.periods.add(group.first.strftime(UNITS[self.unit]), group)
        coarser = list(UNITS)[list(UNITS).index(self.unit) + 1 :]
        while len(self.periods) > PERIODS and coarser:
            self.unit = coarser.pop(0)
            before, self.periods = self.periods, Groups()
            for found in before.values():
                self.periods.add(found.first.strftime(UNITS[self.unit]), found)

    def most_changed(self) -> list[tuple[str, LayerValues]]:
        """Layers and classifier by name, most changed first."""
        return sorted(self.layers.items(), key=lambda item: -(item[1].change.mean or 0.0))

    def to_json(self) -> dict[str, Any]:
        """One document."""
        assert self.whole is not None
        return {
            **self.whole.to_json(),
            "bundles": self.bundles.to_json(),
            "settings": self.settings,
            "targets": self.targets.to_json(),
            "unit": self.unit,
            "periods": self.periods.to_json(),
            "layers": {name: values.to_json() for name, values in self.most_changed()},
            "reasons": dict(self.reasons.most_common()),
            "signals": {name: values.to_json() for name, values in sorted(self.signals.items())},
        }


def summarise(records: Iterable[BatchRecord]) -> Summary:
    """One pass over a log. Raises `InputError` for one without any batch."""
    summary = Summary()
    for record in records:
        summary.add(record)
    if summary.whole is None:
        raise InputError("the audit log holds no batch yet", "gformer adapt --audit FILE writes one line a batch.")
    return summary


def _merged(before: Group | None, new: Group) -> Group:
    if before is None:
        return new
    before.merge(new)
    return before


def _length(first: Figure, second: Figure) -> Figure:
    return None if first is None or second is None else hypot(first, second)
