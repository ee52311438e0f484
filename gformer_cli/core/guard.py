"""The guard: how far the parameters generated for a batch are trusted."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch.nn.functional import normalize

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.change import layer_sums
from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.losses import entropy, marginal_entropy, rms
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import statistic_shifts
from gformer_cli.errors import InputError, did_you_mean

GENERATED, BLENDED, SOURCE = "generated", "blended", "source"
DECISIONS = (GENERATED, BLENDED, SOURCE)
WEIGHED = (
    "residual_classifier",
    "statistics_stretched",
    "statistics_widened",
    "first_moved",
    "first_widened",
    "features_stretched",
    "features_alike",
    "entropy_change",
    "diversity",
    "source_diversity",
    "agreement",
)
"""The signals that the two scores add up. The other signals are for whoever reads a decision."""
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


def batch_signals(source_logits: torch.Tensor, prediction: Prediction) -> dict[str, float]:
    """Signals of one batch of B images. `source_logits` (B, K) are those of the unadapted model.

    batch_size            B
    residual              the largest over layers of the change of γ and β, in units of rms(γ_l)
    residual_classifier   the change of W, in units of rms(W)
    mixing                the mean over layers of the weight of the batch's statistics
    statistics_moved      how far the batch's means lie from the source's, averaged over channels, then layers
    statistics_stretched  the same of the standard deviations' logarithms, and of that the logarithm
    statistics_widened    the mean of those logarithms with their signs: below 0 where the batch varies less
    first_moved           as statistics_moved, and
    first_widened         as statistics_widened, of the first layer alone: the one that no parameter has touched
    features_stretched    as statistics_widened, of the last layer: below 0 where images look alike to it
    features_alike        length of the mean of the features' directions: 1 where all images point one way
    entropy               mean entropy of the predictions under generated parameters, in nats
    entropy_change        how much more that is than under the source model
    diversity             entropy of the class marginal under generated parameters, in nats
    source_diversity      the same under the source model: low where images are of one class, or where it has collapsed
    marginals_changed     total variation between that marginal and the source model's, 0 to 1
    agreement             share of the images whose label the source model gives too
    confidence            mean probability of the label under generated parameters
    """
    seen, made = prediction.seen, prediction.parameters
    assert made.mix is not None
    before, after = source_logits.softmax(dim=1), prediction.logits.softmax(dim=1)
    moved, stretched = (torch.cat(parts) for parts in statistic_shifts(seen))
    change = _squares(made.gammas, seen.source.gammas) + _squares(made.betas, seen.source.betas)
    own = torch.cat(seen.source.gammas).square()
    sizes = [len(gamma) for gamma in made.gammas]
    sums = layer_sums([change, own, moved.abs(), stretched.abs(), stretched], sizes)
    counts = sums.new_tensor(sizes)
    certain = entropy(prediction.logits)
    figures = {
        "residual": (sums[0] / (2.0 * sums[1]).clamp_min(1e-12)).max().sqrt(),
        "residual_classifier": rms(made.weight - seen.source.weight) / rms(seen.source.weight),
        "mixing": made.mix.mean(),
        "statistics_moved": (sums[2] / counts).mean(),
        "statistics_stretched": (sums[3] / counts).mean().clamp_min(1e-6).log(),
        "statistics_widened": (sums[4] / counts).mean(),
        "first_moved": sums[2][0] / counts[0],
        "first_widened": sums[4][0] / counts[0],
        "features_stretched": sums[4][-1] / counts[-1],
        "features_alike": normalize(seen.features, dim=1).mean(dim=0).norm(),
        "entropy": certain,
        "entropy_change": certain - entropy(source_logits),
        "diversity": marginal_entropy(prediction.logits),
        "source_diversity": marginal_entropy(source_logits),
        "marginals_changed": 0.5 * (after.mean(dim=0) - before.mean(dim=0)).abs().sum(),
        "agreement": (before.argmax(dim=1) == after.argmax(dim=1)).to(certain.dtype).mean(),
        "confidence": after.max(dim=1).values.mean(),
    }
    values = torch.stack(list(figures.values())).tolist()  # one transfer from the device, not one a figure
    return {"batch_size": float(len(after)), **dict(zip(figures, values, strict=True))}


@dataclass(frozen=True)
class Score:
    """A weighted sum of readings, and where it begins and ends to be too high."""

    weights: dict[str, float]
    """Per signal of `WEIGHED`."""
    constant: float
    limit: float
    """Up to here generated parameters predict."""
    far: float
    """From here on the source model does; in between their share falls evenly."""

    def __post_init__(self) -> None:
        if self.far < self.limit:
            raise ValueError(f"far {self.far:g} is below limit {self.limit:g}")

    def of(self, readings: Mapping[str, float]) -> float:
        return self.constant + sum(weight * readings[name] for name, weight in self.weights.items())

    def share(self, value: float) -> float:
        """1 up to `limit`, 0 from `far` on."""
        if value <= self.limit:
            return 1.0
        return 0.0 if value >= self.far else (self.far - value) / (self.far - self.limit)

    def movers(self, readings: Mapping[str, float]) -> list[str]:
        """The signals that raise the score most."""
        parts = {name: weight * readings[name] for name, weight in self.weights.items()}
        return [name for name in sorted(parts, key=lambda name: -parts[name]) if parts[name] > 0.0][:_NAMED]


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
    """Per signal of `WEIGHED` and size the median over clean batches."""
    spread: dict[str, tuple[float, ...]]
    """Per signal of `WEIGHED` and size the standard deviation over clean batches."""
    strangeness: Score
    expected_loss: Score
    smallest_batch: float
    """Smaller batches are left to the source model."""

    def __post_init__(self) -> None:
        tables = [self.typical, self.spread]
        if not self.sizes or any(set(table) < set(WEIGHED) for table in tables):
            raise ValueError(f"sizes and the signals {', '.join(WEIGHED)} are needed")
        if any(len(values) != len(self.sizes) for table in tables for values in table.values()):
            raise ValueError("every signal needs one value a size")
        if any(set(score.weights) - set(WEIGHED) for score in (self.strangeness, self.expected_loss)):
            raise ValueError("a score weighs a signal without a range")
        if any(value <= 0.0 for values in self.spread.values() for value in values):
            raise ValueError("a spread must be above 0")

    def readings(self, signals: Mapping[str, float]) -> dict[str, float]:
        """Each of `WEIGHED` in spreads from what is typical, at most `FURTHEST`."""
        place = _place(self.sizes, signals["batch_size"])
        found = {}
        for name in WEIGHED:
            middle, unit = _at(self.typical[name], place), _at(self.spread[name], place)
            found[name] = max(-FURTHEST, min(FURTHEST, (signals[name] - middle) / unit))
        return found

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
            "smallest-batch": self.smallest_batch,
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
            smallest_batch=now["smallest-batch"],
        )


def guarded(
    backbone: Backbone, images: torch.Tensor, source_logits: torch.Tensor, prediction: Prediction, verdict: Verdict
) -> tuple[torch.Tensor, Parameters]:
    """Logits (B, K) under the parameters that `verdict` lets predict, and these. Only `blended` costs a pass."""
    if verdict.decision == GENERATED:
        return prediction.logits, prediction.parameters
    source = backbone.source_parameters().detached()
    if verdict.decision == SOURCE:
        return source_logits, source
    blended = source.towards(prediction.parameters, verdict.share)
    return backbone(images, blended, prediction.earlier), blended


def _squares(after: Sequence[torch.Tensor], before: Sequence[torch.Tensor]) -> torch.Tensor:
    """(ΣC,) squared differences."""
    return (torch.cat(tuple(after)) - torch.cat(tuple(before))).square()


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
