from __future__ import annotations

import math

import pytest
import torch

from gformer_cli.core.estimators import fit_thresholds, right
from gformer_cli.core.estimators.atc import negative_entropies

FOUR = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]], dtype=torch.float64)
"""Sure by 0.9, 0.8, 0.7 and 0.6."""


def test_negative_entropy_is_that_of_each_image() -> None:
    found = negative_entropies(torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], dtype=torch.float64))
    assert found.tolist() == pytest.approx([-1.5 * math.log(2.0), 0.0], abs=1e-15)


def test_as_many_images_fall_below_the_threshold_as_are_wrong() -> None:
    found = fit_thresholds(FOUR, torch.tensor([0, 1, 0, 0]))  # the third is wrong: the least sure one falls
    assert found["confidence"] == pytest.approx((0.6 + 0.7) / 2.0, abs=1e-6)
    entropies = [p * math.log(p) + (1.0 - p) * math.log(1.0 - p) for p in (0.6, 0.7)]
    assert found["entropy"] == pytest.approx(sum(entropies) / 2.0, abs=1e-6)
    for score in ("confidence", "entropy"):
        assert right(score, found[score], FOUR).tolist() == [1.0, 1.0, 1.0, 0.0]
    # of others, the share above is the guess: 0.64 counts as wrong, 0.66 as right
    others = torch.tensor([[0.64, 0.36], [0.34, 0.66]], dtype=torch.float64)
    assert right("confidence", found["confidence"], others).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(("labels", "share"), [([0, 1, 1, 0], 1.0), ([1, 0, 0, 1], 0.0), ([0, 0, 0, 1], 0.25)])
def test_the_guess_on_the_images_themselves_is_their_accuracy(labels: list[int], share: float) -> None:
    found = fit_thresholds(FOUR, torch.tensor(labels))
    assert [float(right(score, found[score], FOUR).mean()) for score in found] == [share, share]


def test_near_certainty_a_threshold_still_tells_images_apart() -> None:
    tail = torch.tensor([1e-9, 2e-9, 4e-9], dtype=torch.float64)
    found = fit_thresholds(torch.stack([1.0 - tail, tail], dim=1), torch.tensor([0, 0, 1]))
    assert 1.0 - found["confidence"] == pytest.approx(3e-9, rel=1e-5)


def test_without_an_image_there_is_none() -> None:
    with pytest.raises(ValueError, match="needs images"):
        fit_thresholds(torch.empty(0, 2), torch.empty(0, dtype=torch.long))
