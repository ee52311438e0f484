from __future__ import annotations

import math

import pytest
import torch

from gformer_cli.core.estimators import (
    RATES,
    Classified,
    Dropout,
    error_at,
    errors_by_rate,
    expected_error,
    fit_rate,
    infer,
)


class Given(Dropout):
    """Keeps what a test says."""

    def __init__(self, kept: list[list[list[float]]]) -> None:
        self.given = torch.tensor(kept, dtype=torch.float64)

    def kept(self, shape: tuple[int, ...], rate: float) -> torch.Tensor:
        assert self.given.shape[1:] == shape
        return self.given


def two_classes(*rows: list[float]) -> Classified:
    """Features that are logits."""
    features = torch.tensor(rows, dtype=torch.float64)
    return Classified(features, torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))


def test_contradictions_are_counted_and_weighed_by_the_entropy_of_the_mean_prediction() -> None:
    found = two_classes([2.0, 1.0], [0.0, 3.0])  # the first class, the second
    all_of_it, second_alone, none = [[1.0, 1.0], [1.0, 1.0]], [[0.0, 2.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]
    # logits of the three inferences: (2, 1) (0, 2) (0, 0), and (0, 3) (0, 3) (0, 0); of equals the first
    one = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(2)), 0.5]
    two = [1 / (1 + math.exp(3)), 1 / (1 + math.exp(3)), 0.5]
    got = infer(found, Given([all_of_it, second_alone, none]), 0.5)
    assert got.disagreements.tolist() == [1 / 3, 1 / 3] and got.means.dtype == torch.float64
    assert got.means.tolist() == [pytest.approx([sum(p) / 3, 1 - sum(p) / 3], rel=1e-12) for p in (one, two)]
    assert got.of([1]).means.tolist() == got.means[1:].tolist()
    mean = (sum(one) + sum(two)) / 6
    entropy = -(mean * math.log(mean) + (1 - mean) * math.log(1 - mean))
    weight = (entropy / math.log(2)) ** -3
    assert 1.0 < weight < 1.5  # below what would make the error that of chance
    assert expected_error(1 / 3, got.means.mean(dim=0)) == pytest.approx(weight / 3, rel=1e-12)


def test_no_model_is_worse_than_chance_and_what_nothing_contradicts_is_right() -> None:
    few = torch.tensor([0.97, 0.01, 0.01, 0.01], dtype=torch.float64)
    assert expected_error(0.5, few) == 0.75
    assert expected_error(0.0, few) == 0.0
    certain = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert (expected_error(0.0, certain), expected_error(0.25, certain)) == (0.0, 0.25)
    even = torch.full((4,), 0.25, dtype=torch.float64)
    assert expected_error(0.5, even) == pytest.approx(0.5)
    one_class = infer(Classified(torch.rand(3, 4), torch.rand(1, 4), torch.rand(1)), Dropout(0), 0.5)
    assert expected_error(float(one_class.disagreements.mean()), one_class.means.mean(dim=0)) == 0.0


def test_dropout_keeps_the_mean_and_is_the_same_for_all_that_ask() -> None:
    dropout = Dropout(3)
    kept = dropout.kept((40, 50), 0.75)
    assert kept.shape == (10, 40, 50) and kept.unique().tolist() == [0.0, 4.0]
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.05)
    assert Dropout(3).kept((40, 50), 0.75).equal(kept) and not Dropout(4).kept((40, 50), 0.75).equal(kept)
    fewer = dropout.kept((40, 50), 0.5) > 0
    assert bool((fewer | (kept == 0)).all()), "what a higher rate keeps a lower one keeps"


def test_the_rate_is_where_the_expected_error_is_the_true_one() -> None:
    rising = [[place / 20 for place in range(len(RATES))], [0.0] * len(RATES)]
    # by images 3 : 1, so that the mean is 0.75 of the first; 0.3 lies there at place 8
    assert fit_rate(rising, [3, 1], 0.3) == round(RATES[8], 3)
    assert fit_rate(rising, [3, 1], 0.31875) == pytest.approx((RATES[8] + RATES[9]) / 2, abs=5e-4)
    assert (fit_rate(rising, [3, 1], 0.0), fit_rate(rising, [3, 1], 0.99)) == (0.2, round(RATES[-1], 3))
    with pytest.raises(ValueError, match="needs images"):
        fit_rate([], [], 0.5)


def test_an_error_is_interpolated_between_rates() -> None:
    rising = [place / 20 for place in range(len(RATES))]
    assert error_at(rising, (RATES[4] + RATES[5]) / 2) == pytest.approx(4.5 / 20)


def test_more_dropout_contradicts_more() -> None:
    random = torch.Generator().manual_seed(0)
    found = Classified(torch.randn(64, 32, generator=random), torch.randn(5, 32, generator=random), torch.zeros(5))
    by_rate = errors_by_rate(found, 0)
    assert len(by_rate) == len(RATES) and by_rate[0] < 0.4 < by_rate[-1] <= 0.8
    assert by_rate == errors_by_rate(found, 0)
