from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import (
    entropy,
    fine_tuned,
    logarithmic_cross_entropy,
    marginal_entropy,
    parameter_distance,
    parameter_units,
    pseudo_label_cross_entropy,
    relative_cross_entropy,
    rms,
    temperature_free_cross_entropy,
)
from gformer_cli.core.parameters import Parameters

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def start_of(backbone: Backbone) -> Parameters:
    return backbone.source_parameters().with_mix(tensor(0.3, 0.6))


def test_entropy_is_the_mean_over_images_in_nats() -> None:
    logits = torch.stack([tensor(0.0, 0.0), tensor(math.log(3.0), 0.0)])  # (1/2, 1/2) and (3/4, 1/4)
    expected = (math.log(2.0) + 0.75 * math.log(4 / 3) + 0.25 * math.log(4.0)) / 2
    assert entropy(logits).item() == pytest.approx(expected, abs=1e-14)


def test_entropy_of_extreme_logits_is_zero_with_finite_gradients() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = entropy(logits)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_pseudo_label_cross_entropy_is_minus_the_log_of_the_largest_probability() -> None:
    logits = torch.stack([tensor(math.log(3.0), 0.0), tensor(0.0, math.log(4.0))])  # largest: 3/4 and 4/5
    expected = -(math.log(0.75) + math.log(0.8)) / 2
    assert pseudo_label_cross_entropy(logits).item() == pytest.approx(expected, abs=1e-14)


def logits_of(spread: float, seed: int = 0) -> torch.Tensor:
    """Six rows of three, right for some of `LABELS` only."""
    random = torch.Generator().manual_seed(seed)
    return spread * (torch.randn(6, 3, generator=random, dtype=torch.float64) + 0.5 * F.one_hot(LABELS, 3))


def test_temperature_free_cross_entropy_is_the_least_over_the_temperatures() -> None:
    logits = logits_of(9.0)
    candidates = [F.cross_entropy(logits / 2.0 ** (step / 4), LABELS).item() for step in range(13)]
    assert min(candidates) not in (candidates[0], candidates[-1])
    assert temperature_free_cross_entropy(logits, LABELS).item() == min(candidates)


def test_being_less_sure_does_not_lower_the_temperature_free_cross_entropy() -> None:
    logits = logits_of(9.0)
    assert F.cross_entropy(logits / 2, LABELS) < 0.7 * F.cross_entropy(logits, LABELS)
    halved, whole = (temperature_free_cross_entropy(z, LABELS).item() for z in (logits / 2, logits))
    assert halved == pytest.approx(whole, rel=1e-12)


def test_temperature_free_cross_entropy_has_the_gradient_at_its_temperature() -> None:
    logits = logits_of(9.0).requires_grad_(True)
    (found,) = torch.autograd.grad(temperature_free_cross_entropy(logits, LABELS), logits)
    step = 1e-6 * torch.randn(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        rise = temperature_free_cross_entropy(logits + step, LABELS) - temperature_free_cross_entropy(
            logits - step, LABELS
        )
    assert rise.item() == pytest.approx(2 * (found * step).sum().item(), rel=1e-5)


def test_relative_cross_entropy_is_a_share_of_the_start_with_a_floor() -> None:
    logits, start = logits_of(4.0), logits_of(9.0, seed=1).requires_grad_(True)
    whole = temperature_free_cross_entropy(logits, LABELS) / temperature_free_cross_entropy(start.detach(), LABELS)
    assert temperature_free_cross_entropy(start.detach(), LABELS) > 0.3
    assert relative_cross_entropy(logits, start, LABELS).item() == pytest.approx(whole.item(), rel=1e-12)
    assert not relative_cross_entropy(logits, start, LABELS).requires_grad
    solved = 20.0 * F.one_hot(LABELS, 3).double()
    floored = temperature_free_cross_entropy(logits, LABELS).item() / 0.3
    assert relative_cross_entropy(logits, solved, LABELS).item() == pytest.approx(floored, rel=1e-12)


def test_rms_is_the_root_mean_square_and_never_zero() -> None:
    assert rms(tensor(3.0, -4.0)).item() == pytest.approx(math.sqrt(12.5), abs=1e-14)
    assert rms(torch.zeros(3)).item() == pytest.approx(1e-6)
    assert not rms(torch.ones(3, requires_grad=True)).requires_grad


def test_parameter_distance_is_a_huber_loss_in_units_averaged_per_tensor() -> None:
    generated = [tensor(1.0, 2.0), tensor(0.0)]
    wanted = [tensor(2.0, 2.0), tensor(-6.0)]
    # in units: (-0.5, 0) -> quadratic: (0.125 + 0) / 2; 3 -> linear: 3 - 0.5
    expected = (0.0625 + 2.5) / 2
    found = parameter_distance(generated, wanted, [tensor(2.0)[0], tensor(2.0)[0]])
    assert found.item() == pytest.approx(expected, abs=1e-14)


def test_parameter_distance_of_lists_of_unequal_length_is_an_error() -> None:
    with pytest.raises(ValueError, match="zip"):
        parameter_distance([tensor(1.0)], [], [])


def test_parameter_units_are_rms_of_gamma_and_of_the_classifier_weight(backbone: Backbone) -> None:
    source = backbone.source_parameters()
    gammas = [gamma.square().mean().sqrt() for gamma in source.gammas]
    weight = source.weight.square().mean().sqrt()
    torch.testing.assert_close(parameter_units(source), [*gammas, *gammas, weight, weight])


def test_one_step_of_fine_tuning_is_the_scaled_gradient_step(backbone: Backbone, images: torch.Tensor) -> None:
    theta = start_of(backbone).detached(requires_grad=True)
    gradients = torch.autograd.grad(F.cross_entropy(backbone(images, theta), LABELS), theta.trainable())
    layers = len(theta.gammas)
    scale_of = [*theta.gammas, *theta.gammas, theta.weight, theta.weight]
    assert len(scale_of) == 2 * layers + 2
    expected = [
        tensor - 0.1 * unit.square().mean() * gradient
        for tensor, gradient, unit in zip(theta.trainable(), gradients, scale_of, strict=True)
    ]

    found = fine_tuned(backbone, images, LABELS, start_of(backbone), steps=1, learning_rate=0.1)

    for a, b in zip(found.trainable(), expected, strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=0.0, atol=1e-12)
        assert not a.requires_grad


def test_fine_tuning_lowers_the_cross_entropy_with_every_step(backbone: Backbone, images: torch.Tensor) -> None:
    def loss_after(steps: int) -> float:
        theta = fine_tuned(backbone, images, LABELS, start_of(backbone), steps=steps, learning_rate=0.1)
        return F.cross_entropy(backbone(images, theta), LABELS).item()

    losses = [loss_after(steps) for steps in (0, 1, 5)]
    assert losses[0] == F.cross_entropy(backbone(images, start_of(backbone)), LABELS).item()
    assert losses[0] > losses[1] > losses[2]


def test_learning_rate_scales_the_step(backbone: Backbone, images: torch.Tensor) -> None:
    start = start_of(backbone)
    small, large = (fine_tuned(backbone, images, LABELS, start, steps=1, learning_rate=rate) for rate in (0.1, 0.2))
    torch.testing.assert_close(large.weight - start.weight, 2.0 * (small.weight - start.weight))


def test_fine_tuning_keeps_the_mixing_and_the_source_model(backbone: Backbone, images: torch.Tensor) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    start = start_of(backbone)
    found = fine_tuned(backbone, images, LABELS, start, steps=3, learning_rate=0.5)
    assert found.mix is start.mix
    assert not torch.equal(found.gammas[0], start.gammas[0])
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_fine_tuning_gives_no_gradients_to_a_model_that_is_not_frozen(
    make_network: Callable[..., nn.Module], images: torch.Tensor
) -> None:
    trainable = Backbone(make_network()).eval()
    fine_tuned(trainable, images, LABELS, start_of(trainable), steps=2, learning_rate=0.1)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in trainable.parameters())


def test_the_marginal_entropy_is_finite_when_a_class_is_never_predicted() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1e4, -1e4]], dtype=torch.float64, requires_grad=True)
    value = marginal_entropy(logits)
    (gradient,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(value, torch.tensor(2.0, dtype=torch.float64).log())
    assert gradient.isfinite().all()


def test_the_logarithmic_loss_by_hand() -> None:
    # two classes, one image, surely right or wrong at temperature 1 to 8: the best is 1 where right, 8 where wrong
    right, wrong = torch.tensor([[2.0, 0.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    labels = torch.tensor([0])
    expected = math.log1p(math.log1p(math.exp(-2.0))), math.log1p(math.log1p(math.exp(2.0 / 8.0)))
    found = [float(logarithmic_cross_entropy(logits, labels)) for logits in (right, wrong)]
    assert found == pytest.approx(expected, rel=1e-12)
