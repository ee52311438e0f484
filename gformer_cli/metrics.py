"""Figures that judge predictions, and how far to trust them.

Everything is computed in float64 on the CPU. `Scores` takes one batch at a time and keeps sums only, so that a long
stream needs no more memory than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

BINS = 15
"""Equal-width bins of top-1 confidence, as in Guo et al. 2017, section 4."""
LEAST_PROBABILITY = torch.finfo(torch.float64).eps
"""What a true class's probability counts as at least: one image adds at most 36.04 nats. As in scikit-learn."""


def accuracy(correct: int, total: int) -> float:
    """Share of correct predictions; not a number without any."""
    return correct / total if total else float("nan")


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; not a number without any."""
    found = list(values)
    return sum(found) / len(found) if found else float("nan")


def balanced_accuracy(confusion: torch.Tensor) -> float:
    """Mean recall over the classes that occur in the labels, from a confusion matrix (K, K); in [0, 1]."""
    labelled = confusion.sum(dim=1)
    present = labelled > 0
    return float((confusion.diagonal()[present].double() / labelled[present]).mean())


def macro_f1(confusion: torch.Tensor) -> float:
    """Mean F1 over the classes that occur in labels or predictions, from a confusion matrix (K, K); in [0, 1].

    A class that occurs on one side only counts as 0, as in scikit-learn's `f1_score(average="macro")`.
    """
    occurrences = confusion.sum(dim=0) + confusion.sum(dim=1)
    present = occurrences > 0
    return float((2.0 * confusion.diagonal()[present].double() / occurrences[present]).mean())


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Softmax of logits (N, K): float64 (N, K), on the CPU.

    An image whose logits are not numbers gets probability 0 everywhere (and class 0 as prediction): a method that
    breaks down is measured as badly wrong and does not stop the measurement.
    """
    return logits.detach().cpu().double().softmax(dim=1).nan_to_num(nan=0.0)


@dataclass(frozen=True)
class Measures:
    """How good the predictions for `n` images are. Not a number, all of them, without any image."""

    n: int
    accuracy: float
    balanced_accuracy: float
    """Mean recall over the classes that occur in the labels."""
    macro_f1: float
    """Mean F1 over the classes that occur in labels or predictions."""
    nll: float
    """Negative log-likelihood of the label, in nats an image. Finite: see `LEAST_PROBABILITY`."""
    ece: float
    """Expected calibration error: mean |accuracy - confidence| over `BINS`, weighted by images, from 0 to 1 (Guo et al.
    2017, arXiv 1706.04599)."""
    brier: float
    """Squared distance of the probabilities to the one-hot label, from 0 to 2 (Brier 1950)."""


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose top-1 confidence lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    """Mean top-1 confidence."""
    accuracy: float


@dataclass
class Scores:
    """Measures of predictions that come in batches; memory depends on the number of classes only."""

    classes: int
    confusion: torch.Tensor = field(init=False)
    """Images by label (row) and prediction (column): int64 (K, K)."""
    _nll: float = field(init=False, default=0.0, repr=False)
    _brier: float = field(init=False, default=0.0, repr=False)
    _bins: torch.Tensor = field(init=False, repr=False)
    """Sums per confidence bin, float64 (3, BINS): images, their confidences, correct predictions."""

    def __post_init__(self) -> None:
        self.confusion = torch.zeros(self.classes, self.classes, dtype=torch.int64)
        self._bins = torch.zeros(3, BINS, dtype=torch.float64)

    def add(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Take in one batch: logits (B, K) and labels (B,) on any device. Raises `ValueError` for other shapes."""
        if logits.ndim != 2 or logits.shape[1] != self.classes or labels.shape != logits.shape[:1]:
            got = f"{tuple(logits.shape)} and {tuple(labels.shape)}"
            raise ValueError(f"logits (B, {self.classes}) and labels (B,) wanted, got {got}")
        predicted, labels = probabilities(logits), labels.cpu()
        # the labels are looked up first: one that is out of range raises before anything is counted
        likelihood = predicted.gather(1, labels[:, None]).squeeze(1)  # (B,)
        self.confusion += _confusion(predicted, labels)
        self._nll -= float(likelihood.clamp_min(LEAST_PROBABILITY).log().sum())
        # Σ(p - y)² = Σp² - 2 p_label + 1
        self._brier += float((predicted.square().sum(dim=1) - 2.0 * likelihood + 1.0).sum())
        confidence, prediction = predicted.max(dim=1)
        # bins are (low, high], so a confidence on an edge belongs to the bin under it; 0 goes to the first
        number = ((confidence * BINS).ceil().long() - 1).clamp(0, BINS - 1)
        sums = torch.stack([torch.ones_like(confidence), confidence, (prediction == labels).double()])
        self._bins.index_add_(1, number, sums)

    @property
    def n(self) -> int:
        """Images taken in."""
        return int(self.confusion.sum())

    def measures(self) -> Measures:
        """The figures for all images taken in so far."""
        n = self.n
        _, confidence, correct = self._bins
        return Measures(
            n=n,
            accuracy=accuracy(int(self.confusion.trace()), n),
            balanced_accuracy=balanced_accuracy(self.confusion),
            macro_f1=macro_f1(self.confusion),
            nll=self._nll / n if n else math.nan,
            # each bin's share of images times the difference of its means is the difference of its sums over n
            ece=float((correct - confidence).abs().sum()) / n if n else math.nan,
            brier=self._brier / n if n else math.nan,
        )

    def calibration(self) -> list[CalibrationBin]:
        """The bins that hold images, by rising confidence: what a reliability diagram shows."""
        return [
            CalibrationBin(number / BINS, (number + 1) / BINS, int(count), confidence / count, correct / count)
            for number, (count, confidence, correct) in enumerate(self._bins.T.tolist())
            if count
        ]


def standard_error(values: Iterable[float]) -> float:
    """Standard error of the mean of independent values (such as seeds); not a number for fewer than two."""
    found = np.fromiter(values, dtype=np.float64)
    return float(found.std(ddof=1)) / math.sqrt(len(found)) if len(found) > 1 else math.nan


def paired_bootstrap(
    differences: Sequence[float],
    weights: Sequence[float],
    *,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval (low, high) of the weighted mean of `differences`, at confidence `level`.

    A unit is what two methods were both measured on, such as a batch: its difference is between the two, its weight
    the number of its images. Units are drawn with replacement, together with their weights, `draws` times (Efron and
    Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). Not a number, both, for fewer than two units, which
    say nothing about how units differ. Raises `ValueError` for lists of unequal length or a weight that is not above 0.
    """
    difference, weight = (np.asarray(values, dtype=np.float64) for values in (differences, weights))
    if difference.shape != weight.shape:
        raise ValueError(f"{len(difference)} differences but {len(weight)} weights")
    if not (weight > 0.0).all():
        raise ValueError("weights must be above 0")
    units = len(difference)
    if units < 2:
        return math.nan, math.nan
    # how often each unit is drawn: (draws, units). One draw decides about differences and weights alike
    times = np.random.default_rng(seed).multinomial(units, np.full(units, 1.0 / units), size=draws)
    means = (times @ (difference * weight)) / (times @ weight)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def _confusion(predicted: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    classes = predicted.shape[1]
    cells = labels * classes + predicted.argmax(dim=1)
    return torch.bincount(cells, minlength=classes * classes).view(classes, classes)
