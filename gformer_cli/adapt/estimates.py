"""A sink that guesses how right the answers to each target are, without a label: AETTA (`core.estimators`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from gformer_cli.adapt.predictor import Outcome
from gformer_cli.core.estimators import expected_error

DRAWS = 2000
"""Of the images, with replacement."""
LEVEL = 0.95
"""Of the interval."""
CAUTION = (
    "Accuracy is guessed without labels. The guess is too high where objects are of no class that the model knows, and "
    "too low where few of its classes come."
)


@dataclass(frozen=True)
class Estimate:
    """The accuracy that answers to `images` of a target probably have."""

    accuracy: float
    low: float
    """Of an interval of `LEVEL`: what other images of the place would give, and how far AETTA was off on source images.
    """
    high: float
    images: int

    def to_json(self) -> dict[str, float | int]:
        """With four digits: sums of several processes differ in the last ones."""
        shares = {"accuracy": self.accuracy, "low": self.low, "high": self.high}
        return {name: round(value, 4) for name, value in shares.items()} | {"images": self.images}


@dataclass
class _Judged:
    """What is kept of a target."""

    images: int = 0
    unknown: int = 0
    """Images that dropout could say nothing of."""
    disagreements: Counter[float] = field(default_factory=Counter)
    """Images by the share of inferences that contradict their answer, of which there are few."""
    prediction: torch.Tensor | None = None
    """Sum over images of the mean prediction, (K,)."""
    missed: float = 0.0
    """Sum over images of what the estimator is off by."""

    def take(self, other: _Judged) -> None:
        """Take in what another has."""
        self.images += other.images
        self.unknown += other.unknown
        self.missed += other.missed
        self.disagreements.update(other.disagreements)
        if other.prediction is not None:
            self.prediction = other.prediction if self.prediction is None else self.prediction + other.prediction


class Estimates:
    """Call it with each outcome of a `Predictor` that estimates. Memory grows with targets and classes alone."""

    def __init__(self) -> None:
        self._targets: dict[str, _Judged] = {}

    def __call__(self, outcome: Outcome) -> None:
        """Take in one batch."""
        count, dropped, missed = len(outcome.labels), outcome.inferred, outcome.missed
        if dropped is None or missed is None:
            batch = _Judged(count, unknown=count)
        else:
            tally = Counter[float](dropped.disagreements.tolist())
            batch = _Judged(count, 0, tally, dropped.means.sum(dim=0), count * missed)
        self._targets.setdefault(outcome.target, _Judged()).take(batch)

    @classmethod
    def together(cls, parts: Iterable[Estimates]) -> Estimates:
        """What several processes have seen."""
        made = cls()
        for part in parts:
            for target, found in part._targets.items():
                made._targets.setdefault(target, _Judged()).take(found)
        return made

    @property
    def complete(self) -> bool:
        """Whether every target has an estimate."""
        return not any(judged.unknown for judged in self._targets.values())

    def found(self) -> dict[str, Estimate]:
        """By target, of those that are known for every image."""
        known = {name: judged for name, judged in self._targets.items() if not judged.unknown}
        return {name: _estimate(judged) for name, judged in known.items()}


def _estimate(judged: _Judged) -> Estimate:
    """A bootstrap over images, seeded, with the mean prediction as it is."""
    assert judged.prediction is not None
    mean = judged.prediction / judged.images
    values = np.array(sorted(judged.disagreements))
    counts = np.array([judged.disagreements[value] for value in values])
    random = np.random.default_rng(0)
    drawn = random.multinomial(judged.images, counts / judged.images, size=DRAWS) @ values / judged.images
    accuracies = np.array([1.0 - expected_error(float(disagreement), mean) for disagreement in drawn])
    accuracies = accuracies + random.normal(0.0, judged.missed / judged.images, size=DRAWS)
    low, high = np.quantile(accuracies.clip(0.0, 1.0), [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    accuracy = 1.0 - expected_error(float(counts @ values) / judged.images, mean)
    return Estimate(accuracy, min(float(low), accuracy), max(float(high), accuracy), judged.images)
