"""The guard: how far the parameters generated for a batch are trusted."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.guard.signals import SIGNALS

GENERATED, BLENDED, SOURCE = "generated", "blended", "source"
DECISIONS = (GENERATED, BLENDED, SOURCE)
SMALLEST_BATCH = "smallest-batch"
"""The limit that counts images."""
FURTHEST = 6.0
"""Spreads: a reading counts no further than this, so that one signal alone cannot outweigh all others."""
_NAMED = 2
"""Signals that a reason names beside its score."""


@dataclass(frozen=True)
class Verdict:
    """What was decided about one batch, and why."""

    decision: str = GENERATED
    """`generated`, `blended` or `source`: which parameters predict."""
    share: float = 1.0
    """a in θ_s + a (θ_t − θ_s): 1 for `generated`, 0 for `source`."""
    signals: dict[str, float] = field(default_factory=dict)
    """Every figure that was looked at, by name. None needs labels."""
    reasons: tuple[str, ...] = ()
    """Names of what lies outside of its limit, each score with the signals that moved it most."""


@dataclass(frozen=True)
class Score:
    """A weighted sum of readings and of their squares, and where it begins and ends to be too high."""

    weights: dict[str, float]
    """Per signal."""
    constant: float
    limit: float
    """Up to here generated parameters predict."""
    far: float
    """From here on the source model does; in between their share falls evenly."""
    squares: dict[str, float] = field(default_factory=dict)
    """Per signal, of the square of its reading over `FURTHEST`: what lies too far on either side."""

    def __post_init__(self) -> None:
        if self.far < self.limit:
            raise ValueError(f"far {self.far:g} is below limit {self.limit:g}")
        if set(self.squares) - set(self.weights):
            raise ValueError("a square needs a weight beside it")

    def of(self, readings: Mapping[str, float]) -> float:
        return self.constant + sum(self._parts(readings).values())

    def share(self, value: float) -> float:
        """1 up to `limit`, 0 from `far` on."""
        if value <= self.limit:
            return 1.0
        return 0.0 if value >= self.far else (self.far - value) / (self.far - self.limit)

    def movers(self, readings: Mapping[str, float]) -> list[str]:
        """The signals that raise the score most."""
        parts = self._parts(readings)
        return [name for name in sorted(parts, key=lambda name: -parts[name]) if parts[name] > 0.0][:_NAMED]

    def _parts(self, readings: Mapping[str, float]) -> dict[str, float]:
        """What each signal adds."""
        return {
            name: readings[name] * (weight + self.squares.get(name, 0.0) * readings[name] / FURTHEST)
            for name, weight in self.weights.items()
        }


@dataclass(frozen=True)
class Guard:
    """A calibrated rule from signals to a verdict.

    A signal's *reading* is its distance from what is typical of clean batches of the same size, in spreads. Two
    scores add readings up: `strangeness`, the logarithm of the odds that the images are none of the model's business,
    and `expected_loss`, the accuracy that the generated parameters are expected to cost. The worse of them decides.
    """

    sizes: tuple[int, ...]
    """Batch sizes that were calibrated, rising; between them readings are interpolated in log size."""
    typical: dict[str, tuple[float, ...]]
    """Per signal that the scores weigh, and size, the median over clean batches."""
    spread: dict[str, tuple[float, ...]]
    """Likewise the standard deviation over clean batches."""
    strangeness: Score
    expected_loss: Score
    smallest_batch: float
    """Smaller batches are left to the source model."""

    def __post_init__(self) -> None:
        tables = [self.typical, self.spread]
        if not self.sizes or not self.typical or set(self.typical) != set(self.spread):
            raise ValueError("sizes are needed, and signals with a typical value and a spread")
        if not set(self.typical) <= set(SIGNALS):
            raise ValueError(f"unknown signals: {', '.join(sorted(set(self.typical) - set(SIGNALS)))}")
        if any(len(values) != len(self.sizes) for table in tables for values in table.values()):
            raise ValueError("every signal needs one value a size")
        if any(set(score.weights) - set(self.typical) for score in (self.strangeness, self.expected_loss)):
            raise ValueError("a score weighs a signal without a range")
        if any(value <= 0.0 for values in self.spread.values() for value in values):
            raise ValueError("a spread must be above 0")

    def readings(self, signals: Mapping[str, float]) -> dict[str, float]:
        """Each signal that is weighed, in spreads from what is typical, at most `FURTHEST`."""
        place = _place(self.sizes, signals["batch_size"])
        readings = {}
        for name in self.typical:
            middle, unit = _at(self.typical[name], place), _at(self.spread[name], place)
            readings[name] = max(-FURTHEST, min(FURTHEST, (signals[name] - middle) / unit))
        return readings

    def decide(self, signals: Mapping[str, float]) -> Verdict:
        """The verdict on a batch by its `batch_signals`."""
        broken = tuple(name for name, value in signals.items() if not math.isfinite(value))
        if broken:
            return Verdict(SOURCE, 0.0, dict(signals), broken)
        readings = self.readings(signals)
        scores = {"strangeness": self.strangeness, "expected_loss": self.expected_loss}
        values = {name: score.of(readings) for name, score in scores.items()}
        share, reasons = 1.0, []
        if signals["batch_size"] < self.smallest_batch:
            share, reasons = 0.0, ["batch_size"]
        for name, score in scores.items():
            own = score.share(values[name])
            share = min(share, own)
            reasons += [name, *score.movers(readings)] if own < 1.0 else []
        decision = GENERATED if share == 1.0 else SOURCE if share == 0.0 else BLENDED
        return Verdict(decision, share, {**signals, **values}, tuple(dict.fromkeys(reasons)))

    @property
    def limits(self) -> dict[str, float]:
        """Every threshold by the name that overrides it."""
        return {
            "strangeness": self.strangeness.limit,
            "strangeness-far": self.strangeness.far,
            "expected-loss": self.expected_loss.limit,
            "expected-loss-far": self.expected_loss.far,
            SMALLEST_BATCH: self.smallest_batch,
        }

    def with_limits(self, changes: Mapping[str, float]) -> Guard:
        """The same with some of `limits` replaced; a limit above its `-far` takes that along.

        Raises `InputError` for an unknown name, and for a `-far` that was asked to lie below its limit.
        """
        for name in changes:
            if name not in self.limits:
                raise InputError(f"unknown guard limit: {name!r}", did_you_mean(name, self.limits))
        now = self.limits | dict(changes)
        for name in ("strangeness", "expected-loss"):
            far = f"{name}-far"
            if far not in changes:
                now[far] = max(now[far], now[name])
            elif now[far] < now[name]:
                raise InputError(
                    f"guard limit {far} is {now[far]:g}, below {name}, {now[name]:g}",
                    f"Between {name} and {far} the share of the generated parameters falls from 1 to 0.",
                )
        return replace(
            self,
            strangeness=replace(self.strangeness, limit=now["strangeness"], far=now["strangeness-far"]),
            expected_loss=replace(self.expected_loss, limit=now["expected-loss"], far=now["expected-loss-far"]),
            smallest_batch=now[SMALLEST_BATCH],
        )


def _place(sizes: Sequence[int], size: float) -> tuple[int, int, float]:
    """The two neighbours of `size` among `sizes`, and how far it lies between them in log size."""
    above = bisect_right(sizes, size)
    if above == 0:
        return 0, 0, 0.0
    if above == len(sizes):
        return above - 1, above - 1, 0.0
    below = above - 1
    return below, above, math.log(size / sizes[below]) / math.log(sizes[above] / sizes[below])


def _at(values: Sequence[float], place: tuple[int, int, float]) -> float:
    below, above, share = place
    return values[below] + share * (values[above] - values[below])
