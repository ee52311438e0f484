"""A sink that guesses how right the answers to each target are, without a label, by one of `core.estimators`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from gformer_cli.adapt.predictor import Outcome
from gformer_cli.bundle import Bundle
from gformer_cli.core.estimators import AETTA, ESTIMATORS, chances, expected_error
from gformer_cli.export.model import GraphModel

DRAWS = 2000
"""Of the images, with replacement."""
STEP = 0.001
"""Of an image's error: memory must not grow with images."""
LEVEL = 0.95
"""Of the interval."""
CAUTION = (
    "Accuracy is guessed without labels. Objects of no class that the model knows count as right where it is sure of "
    "them. Where classes come in other shares than in training, or the site is like no simulated shift, the guess may "
    "miss by more than the interval says."
)


@dataclass(frozen=True)
class Estimate:
    """The accuracy that answers to `images` of a target probably have."""

    accuracy: float
    low: float
    """Of an interval of `LEVEL`: other images of the place, and how far the estimator was off on source images."""
    high: float
    images: int

    def to_json(self) -> dict[str, float | int]:
        """With four digits: sums of several processes differ in the last ones."""
        shares = {"accuracy": self.accuracy, "low": self.low, "high": self.high}
        return {name: round(value, 4) for name, value in shares.items()} | {"images": self.images}


def choose(bundle: Bundle | GraphModel) -> str | None:
    """The estimator that was off least on source images, of adapted answers; None where none was fitted.

    An exported file shows no features: what needs them is out.
    """
    fitted = bundle.estimators(1.0)
    able = ESTIMATORS if isinstance(bundle, Bundle) else [name for name in ESTIMATORS if name != AETTA]
    off = {} if fitted is None else {name: fitted.missed[name] for name in able if name in fitted.missed}
    return min(off, key=lambda name: off[name], default=None)


@dataclass
class _Judged:
    """What is kept of a target."""

    images: int = 0
    errors: Counter[int] = field(default_factory=Counter)
    """Images by how wrong their answer counts as, in steps of `STEP`."""
    prediction: torch.Tensor | float = 0.0
    """Sum over images of the mean prediction under dropout, (K,), where AETTA guesses."""
    missed: float = 0.0
    """Sum over images of what the estimator is off by."""

    def take(self, other: _Judged) -> None:
        """Take in what another has."""
        self.images += other.images
        self.errors.update(other.errors)
        self.prediction = self.prediction + other.prediction
        self.missed += other.missed


class Estimates:
    """Call it with each outcome of a `Predictor`, which drops features where `estimator` is AETTA.

    Memory grows with targets and classes alone.
    """

    def __init__(self, estimator: str) -> None:
        self.estimator = estimator
        self._targets: dict[str, _Judged] = {}
        self._lost: set[str] = set()
        """Targets with a batch that nothing could be said of."""

    def __call__(self, outcome: Outcome) -> None:
        """Take in one batch."""
        fitted, dropped, count = outcome.fitted, outcome.inferred, len(outcome.labels)
        if fitted is None or (dropped is None and self.estimator == AETTA):
            self._lost.add(outcome.target)
            return
        prediction: torch.Tensor | float = 0.0
        if dropped is not None:
            errors, prediction = dropped.disagreements, dropped.means.sum(dim=0)
        else:
            errors = 1.0 - chances(self.estimator, outcome.probabilities.double(), fitted)
        tally = Counter[int]((errors / STEP).round().int().tolist())
        batch = _Judged(count, tally, prediction, count * fitted.missed[self.estimator])
        self._targets.setdefault(outcome.target, _Judged()).take(batch)

    @classmethod
    def together(cls, parts: Sequence[Estimates | None]) -> Estimates | None:
        """What several processes have seen; None where nothing is guessed."""
        known = [part for part in parts if part is not None]
        if not known:
            return None
        made = cls(known[0].estimator)
        for part in known:
            for target, found in part._targets.items():
                made._targets.setdefault(target, _Judged()).take(found)
            made._lost |= part._lost
        return made

    def found(self) -> dict[str, Estimate]:
        """By target, of those that are known for every image."""
        return {name: _estimate(judged) for name, judged in self._targets.items() if name not in self._lost}


def _estimate(judged: _Judged) -> Estimate:
    """A bootstrap over images, seeded, with the mean prediction as it is.

    Two right images and two wrong ones are among those that are drawn from: a few that are all right would leave no
    doubt (Agresti and Coull 1998).
    """
    steps = sorted(judged.errors)
    values, counts = STEP * np.array(steps), np.array([judged.errors[step] for step in steps])
    accuracy = _accuracy(judged, float(counts @ values) / judged.images)
    random = np.random.default_rng(0)
    values, counts = np.append(values, (0.0, 1.0)), np.append(counts, (2, 2))
    drawn = random.multinomial(counts.sum(), counts / counts.sum(), size=DRAWS) @ values / counts.sum()
    accuracies = np.array([_accuracy(judged, float(error)) for error in drawn])
    accuracies = accuracies + random.normal(0.0, judged.missed / judged.images, size=DRAWS)
    low, high = np.quantile(accuracies.clip(0.0, 1.0), [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return Estimate(accuracy, min(float(low), accuracy), max(float(high), accuracy), judged.images)


def _accuracy(judged: _Judged, error: float) -> float:
    """By how wrong the answers are, in the mean."""
    if isinstance(judged.prediction, torch.Tensor):
        error = expected_error(error, judged.prediction / judged.images)
    return 1.0 - error
