"""Measures against scikit-learn and hand-written formulas; accumulation; intervals."""

from __future__ import annotations

import math
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from gformer_cli.metrics import (
    BINS,
    Measures,
    Scores,
    accuracy,
    balanced_accuracy,
    macro_f1,
    mean,
    paired_bootstrap,
    probabilities,
    standard_error,
)

CLASSES = 5


def _predictions(count: int = 200, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are right rather often, and labels; class 4 never occurs as label."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES - 1, (count,), generator=random)
    logits = 2.0 * torch.randn(count, CLASSES, generator=random, dtype=torch.float64)
    logits[torch.arange(count), labels] += 1.5
    return logits, labels


def _scores(logits: torch.Tensor, labels: torch.Tensor, cuts: list[int] | None = None) -> Scores:
    scores = Scores(logits.shape[1])
    for start, stop in pairwise([0, *(cuts or []), len(labels)]):
        scores.add(logits[start:stop], labels[start:stop])
    return scores


def _measure(logits: torch.Tensor, labels: torch.Tensor) -> Measures:
    return _scores(logits, labels).measures()


def test_a_ratio_and_a_mean_of_nothing_are_not_numbers() -> None:
    assert accuracy(3, 4) == 0.75
    assert mean([1.0, 2.0]) == 1.5
    assert math.isnan(accuracy(0, 0))
    assert math.isnan(mean([]))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_measures_are_those_of_scikit_learn(seed: int) -> None:
    logits, labels = _predictions(seed=seed)
    truth, guess = labels.numpy(), logits.argmax(dim=1).numpy()
    expected = sklearn_metrics.confusion_matrix(truth, guess, labels=range(CLASSES))
    np.testing.assert_array_equal(_scores(logits, labels).confusion.numpy(), expected)
    found = _measure(logits, labels)
    assert found.n == len(labels)
    assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(truth, guess))
    assert found.balanced_accuracy == pytest.approx(sklearn_metrics.balanced_accuracy_score(truth, guess))
    assert found.macro_f1 == pytest.approx(sklearn_metrics.f1_score(truth, guess, average="macro"))
    chances = torch.softmax(logits, dim=1).numpy()
    assert found.nll == pytest.approx(sklearn_metrics.log_loss(truth, chances, labels=range(CLASSES)))


def test_a_class_that_occurs_nowhere_counts_nowhere() -> None:
    # labels 0 0 1, predictions 0 2 1; class 3 occurs on neither side
    confusion = _scores(torch.eye(4)[[0, 2, 1]], torch.tensor([0, 0, 1])).confusion
    assert balanced_accuracy(confusion) == pytest.approx((1 / 2 + 1) / 2)
    assert macro_f1(confusion) == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_confidence_measures_are_those_of_their_formulas() -> None:
    logits, labels = _predictions()
    chances = torch.softmax(logits, dim=1)
    true = chances[torch.arange(len(labels)), labels]
    one_hot = torch.eye(CLASSES, dtype=torch.float64)[labels]
    found = _measure(logits, labels)
    assert found.nll == pytest.approx(-true.log().mean().item())
    assert found.brier == pytest.approx((chances - one_hot).square().sum(dim=1).mean().item())
    gap = 0.0
    for number in range(BINS):
        inside = [i for i, row in enumerate(chances) if number / BINS < row.max() <= (number + 1) / BINS]
        if inside:
            right = mean(float(chances[i].argmax() == labels[i]) for i in inside)
            gap += len(inside) / len(labels) * abs(right - mean(chances[i].max().item() for i in inside))
    assert found.ece == pytest.approx(gap)


@pytest.mark.parametrize("cuts", [[100], [1, 2, 199], [0, 70, 70, 140], list(range(1, 200))])
def test_any_split_into_batches_gives_the_same(cuts: list[int]) -> None:
    logits, labels = _predictions()
    whole, parts = _scores(logits, labels), _scores(logits, labels, cuts)
    assert torch.equal(whole.confusion, parts.confusion)
    assert astuple(parts.measures()) == pytest.approx(astuple(whole.measures()), rel=1e-12)
    for one, other in zip(whole.calibration(), parts.calibration(), strict=True):
        assert astuple(other) == pytest.approx(astuple(one), rel=1e-12)


def test_the_order_of_images_and_the_precision_of_logits_do_not_matter() -> None:
    logits, labels = _predictions()
    logits = logits.float()  # sums over them are still in float64
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    assert astuple(_measure(logits[order], labels[order])) == pytest.approx(
        astuple(_measure(logits, labels)), rel=1e-12
    )
    assert astuple(_measure(logits.double(), labels)) == astuple(_measure(logits, labels))


def test_memory_does_not_grow_with_the_images() -> None:
    scores = Scores(CLASSES)
    shapes = []
    for seed in range(3):
        scores.add(*_predictions(seed=seed))
        shapes.append([value.shape for value in vars(scores).values() if isinstance(value, torch.Tensor)])
        assert not any(isinstance(value, list) for value in vars(scores).values())
    assert shapes[0] == shapes[1] == shapes[2]
    assert scores.n == 600


def test_calibration_bins_tell_counts_confidence_and_accuracy() -> None:
    # confidences 0.9, 0.9 (one wrong) and 0.55
    chances = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.45, 0.55]], dtype=torch.float64)
    scores = Scores(2)
    scores.add(chances.log(), torch.tensor([0, 0, 1]))
    lower, upper = scores.calibration()
    assert (lower.count, lower.confidence, lower.accuracy) == pytest.approx((1, 0.55, 1.0))
    assert (upper.count, upper.confidence, upper.accuracy) == pytest.approx((2, 0.9, 0.5))
    assert (lower.low, lower.high) == (8 / BINS, 9 / BINS)
    assert (upper.low, upper.high) == (13 / BINS, 14 / BINS)
    assert scores.measures().ece == pytest.approx(0.45 / 3 + 2 * 0.4 / 3)


def test_certainty_is_in_the_last_bin() -> None:
    scores = Scores(2)
    scores.add(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
    assert [(found.high, found.count) for found in scores.calibration()] == [(1.0, 1)]
    perfect = scores.measures()
    assert (perfect.accuracy, perfect.macro_f1, perfect.nll, perfect.ece, perfect.brier) == (1.0, 1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("wrong", [1000.0, float("inf"), float("nan")])
def test_a_certain_mistake_is_finite(wrong: float) -> None:
    # an infinite or missing logit is what a method gives that has broken down
    found = _measure(torch.tensor([[0.0, 0.0, wrong], [0.0, 5.0, 0.0]]), torch.tensor([1, 1]))
    assert all(math.isfinite(value) for value in astuple(found))
    assert found.accuracy == 0.5
    assert found.nll == pytest.approx((-math.log(np.finfo(float).eps) + math.log(1 + 2 * math.exp(-5))) / 2)


def test_probabilities_are_float64_and_need_no_gradient() -> None:
    found = probabilities(torch.tensor([[0.0, math.log(3.0)]], requires_grad=True))
    assert found.dtype == torch.float64
    assert not found.requires_grad
    torch.testing.assert_close(found, torch.tensor([[0.25, 0.75]], dtype=torch.float64))


def test_no_image_gives_no_number() -> None:
    found = Scores(3).measures()
    assert found.n == 0
    assert all(math.isnan(value) for value in astuple(found)[1:])
    assert Scores(3).calibration() == []


@pytest.mark.parametrize(
    ("logits", "labels"),
    [(torch.zeros(2, 4), torch.zeros(2)), (torch.zeros(2, 3), torch.zeros(1)), (torch.zeros(3), torch.zeros(3))],
)
def test_other_shapes_are_refused(logits: torch.Tensor, labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"logits \(B, 3\) and labels \(B,\) wanted"):
        Scores(3).add(logits, labels.long())


@pytest.mark.parametrize("label", [-1, 3])
def test_an_unknown_label_is_refused_and_nothing_is_counted(label: int) -> None:
    scores = Scores(3)
    with pytest.raises(RuntimeError):
        scores.add(torch.zeros(2, 3), torch.tensor([0, label]))
    assert scores.n == 0


def test_standard_error() -> None:
    assert standard_error([1.0, 2.0, 3.0, 6.0]) == pytest.approx(math.sqrt(14.0 / 3.0) / 2.0)
    assert standard_error([2.0, 2.0]) == 0.0
    assert math.isnan(standard_error([1.0]))
    assert math.isnan(standard_error([]))


def _units(count: int, seed: int) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    return rng.normal(0.02, 0.1, count).tolist(), rng.integers(8, 64, count).tolist()


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    intervals = [paired_bootstrap(*_units(40, seed), draws=400, level=0.9) for seed in range(400)]
    covered = mean(float(low <= 0.02 <= high) for low, high in intervals)
    # binomial standard deviation 0.015; percentile intervals of 40 units are a little short
    assert 0.83 < covered < 0.95


def test_an_interval_is_that_of_resampling_one_by_one() -> None:
    differences, weights = _units(12, 0)
    rng = np.random.default_rng(9)
    means = []
    for _ in range(20_000):
        drawn = rng.integers(0, 12, 12)
        means.append(np.average(np.array(differences)[drawn], weights=np.array(weights)[drawn]))
    low, high = paired_bootstrap(differences, weights, draws=20_000)
    assert low == pytest.approx(np.quantile(means, 0.025), abs=2e-3)
    assert high == pytest.approx(np.quantile(means, 0.975), abs=2e-3)


def test_weights_count() -> None:
    # the unit with nearly all images decides
    interval = paired_bootstrap([1.0, 0.0, 0.0, 0.0], [1e6, 1.0, 1.0, 1.0], level=0.5)
    assert interval == pytest.approx((0.0, 1.0), abs=1e-4)
    assert paired_bootstrap(*_units(20, 0)) != paired_bootstrap(_units(20, 0)[0], [1.0] * 20)


def test_level_draws_and_seed_are_used() -> None:
    units = _units(20, 0)
    low, high = paired_bootstrap(*units)
    narrow = paired_bootstrap(*units, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert paired_bootstrap(*units) == (low, high)
    assert paired_bootstrap(*units, seed=1) != (low, high)
    assert paired_bootstrap(*units, draws=100) != (low, high)


def test_a_constant_difference_is_certain() -> None:
    assert paired_bootstrap([0.1] * 7, [3.0, 5.0, 8.0, 1.0, 2.0, 64.0, 9.0]) == pytest.approx((0.1, 0.1), rel=1e-12)
    assert paired_bootstrap([0.0] * 7, [1.0] * 7) == (0.0, 0.0)


@pytest.mark.parametrize("differences", [[], [0.3]])
def test_one_unit_says_nothing(differences: list[float]) -> None:
    assert all(math.isnan(end) for end in paired_bootstrap(differences, [1.0] * len(differences)))


def test_units_and_weights_must_fit() -> None:
    with pytest.raises(ValueError, match="2 differences but 1 weights"):
        paired_bootstrap([0.0, 1.0], [1.0])
    with pytest.raises(ValueError, match="above 0"):
        paired_bootstrap([0.0, 1.0], [1.0, 0.0])
