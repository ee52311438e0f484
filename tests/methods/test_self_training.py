"""Losses and weights of self-training against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from gformer_cli.methods.self_training import (
    certainty_and_diversity,
    prior_corrected,
    soft_likelihood_ratio,
    symmetric_cross_entropy,
)

HALF = torch.tensor([0.5, 0.5], dtype=torch.float64)


def _logits(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def test_the_likelihood_ratio_of_a_sure_prediction_is_the_lower_and_clipped() -> None:
    found = soft_likelihood_ratio(_logits((0.5, 0.5), (0.8, 0.2), (0.999, 0.001)))
    wanted = [
        0.0,
        -(0.8 * math.log(4) + 0.2 * math.log(1 / 4)),
        -(0.99 * math.log(99) + 0.001 * math.log(1 / 999 + 1e-5)),
    ]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=0.0, atol=2e-5)


def test_the_likelihood_ratio_has_a_gradient_at_certainty() -> None:
    logits = torch.tensor([[500.0, -500.0], [0.0, 0.0]], requires_grad=True)
    soft_likelihood_ratio(logits).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_symmetric_cross_entropy_is_the_mean_of_both_ways() -> None:
    one, two = _logits((0.75, 0.25)), _logits((0.5, 0.5))
    forth = -(0.5 * math.log(0.75) + 0.5 * math.log(0.25))
    assert symmetric_cross_entropy(one, two).item() == pytest.approx(0.5 * forth + 0.5 * math.log(2))
    assert torch.equal(symmetric_cross_entropy(one, two), symmetric_cross_entropy(two, one))


def test_weights_leave_out_what_the_stream_has_seen_and_prefer_the_sure() -> None:
    logits = _logits((0.9, 0.1), (0.1, 0.9), (0.4, 0.6))
    average = torch.tensor([0.9, 0.1], dtype=torch.float64)

    def cosine(p: float, q: float) -> float:
        return (0.9 * p + 0.1 * q) / math.sqrt(0.82 * (p * p + q * q))

    far = [1 - cosine(0.9, 0.1), 1 - cosine(0.1, 0.9), 1 - cosine(0.4, 0.6)]
    diverse = [(f - min(far)) / (max(far) - min(far)) for f in far]
    assert diverse[2] < sum(diverse) / 3 < diverse[1]
    found = certainty_and_diversity(logits, average, temperature=0.5)
    assert found.tolist() == pytest.approx([0.0, math.exp(1 * 1 / 0.5), 0.0])


def test_the_weight_grows_with_certainty_among_the_diverse() -> None:
    logits = _logits((0.5, 0.5), (0.01, 0.99), (0.2, 0.8))
    found = certainty_and_diversity(logits, torch.tensor([1.0, 0.0], dtype=torch.float64), temperature=1.0)
    assert found[0] == 0 and 1.0 < found[2] < found[1] == math.e


@pytest.mark.parametrize("count", [1, 3])
def test_images_that_are_alike_weigh_alike(count: int) -> None:
    logits = _logits(*[(0.7, 0.3)] * count)
    assert certainty_and_diversity(logits, HALF, temperature=1 / 3).tolist() == [1.0] * count


def test_the_prior_is_smoothed_before_it_multiplies_the_logits() -> None:
    logits = _logits((0.9, 0.1), (0.7, 0.3))
    smooth = 0.5 / 0.8  # max(1 / B, 1 / K) over the largest mean
    wanted = logits * torch.tensor([0.8 + smooth, 0.2 + smooth], dtype=torch.float64) / (1 + 2 * smooth)
    torch.testing.assert_close(prior_corrected(logits), wanted)
    even = _logits((0.9, 0.1), (0.1, 0.9))
    torch.testing.assert_close(prior_corrected(even), even * 0.5)  # no prior, no change of order
