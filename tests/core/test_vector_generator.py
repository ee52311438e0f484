from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import Observed, Reads, VectorGenerator, generate
from gformer_cli.core.losses import parameter_distance, parameter_units
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, probe_source, statistic_shifts

Perturb = Callable[..., None]


@pytest.fixture
def make_vector(backbone: Backbone, perturb: Perturb) -> Callable[..., VectorGenerator]:
    def make(*, moved: float = 0.05, **options: Any) -> VectorGenerator:
        torch.manual_seed(0)
        generator = VectorGenerator(backbone, **({"width": 16, "depth": 2, "heads": 2} | options)).double()
        if moved:
            perturb(generator, moved)
        return generator

    return make


@pytest.fixture
def probe(backbone: Backbone, images: torch.Tensor) -> Probe:
    return probe_source(backbone, images, prior_count=16.0, gradients=True)


def flat(theta: Parameters) -> torch.Tensor:
    assert theta.mix is not None
    return torch.cat([part.flatten() for part in (*theta.trainable(), theta.mix)])


def test_untrained_it_is_exactly_the_source(make_vector: Callable[..., VectorGenerator], probe: Probe) -> None:
    assert torch.equal(flat(generate(make_vector(moved=0.0), probe)), flat(probe.source))


def test_a_token_is_parameter_gradient_feature_and_shift_padded_to_the_widest(
    make_vector: Callable[..., VectorGenerator], probe: Probe
) -> None:
    """Layers of 4 and 6 channels, three classes, six features: 2 + 2 + 3 tokens of four parts of six numbers."""
    tokens = make_vector()._evidence(probe.source, Observed.all_of(probe))
    assert tokens.shape == (7, 24)
    assert probe.gradients is not None

    def scaled(values: torch.Tensor) -> torch.Tensor:
        return values / values.square().mean().sqrt()

    mean = probe.features.mean(dim=0) / probe.features.square().mean().sqrt()
    moved, stretched = statistic_shifts(probe)
    zeros = torch.zeros(2, dtype=torch.float64)
    gamma, beta = probe.source.gammas[0], probe.source.betas[0]
    first = [scaled(gamma), zeros, scaled(probe.gradients.gammas[0]), zeros, mean, stretched[0], zeros]
    torch.testing.assert_close(tokens[0], torch.cat(first))
    unit = gamma.square().mean().sqrt()
    third = [beta / unit, zeros, scaled(probe.gradients.betas[0]), zeros, mean, moved[0], zeros]
    torch.testing.assert_close(tokens[2], torch.cat(third))
    weight, gradient = scaled(probe.source.weight), scaled(probe.gradients.weight)
    last = [weight[2], gradient[2], mean, torch.zeros(6, dtype=torch.float64)]
    torch.testing.assert_close(tokens[6], torch.cat(last))


@pytest.mark.parametrize("ingredient", ["gradients", "statistics", "features"])
def test_each_ingredient_counts_and_can_be_switched_off(
    make_vector: Callable[..., VectorGenerator], probe: Probe, ingredient: str
) -> None:
    def bent(parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(part * torch.linspace(0.5, 2.0, len(part), dtype=part.dtype) for part in parts)

    assert probe.gradients is not None
    other = {
        "gradients": replace(probe, gradients=replace(probe.gradients, gammas=bent(probe.gradients.gammas))),
        "statistics": replace(probe, means=bent(probe.means)),
        "features": replace(probe, features=probe.features * torch.linspace(0.5, 2.0, 6, dtype=torch.float64)),
    }[ingredient]
    reading, blind = make_vector(), make_vector(reads=Reads(**{ingredient: False}))
    assert not torch.allclose(flat(generate(reading, other)), flat(generate(reading, probe)), rtol=0.0, atol=1e-9)
    assert torch.equal(flat(generate(blind, other)), flat(generate(blind, probe)))


@pytest.mark.parametrize("term", ["cross-entropy", "huber"])
def test_both_loss_terms_reach_every_weight_with_the_right_gradient(
    make_vector: Callable[..., VectorGenerator], backbone: Backbone, images: torch.Tensor, probe: Probe, term: str
) -> None:
    generator, labels = make_vector(), torch.tensor([0, 1, 2, 0, 1, 2])

    def loss() -> torch.Tensor:
        theta = generate(generator, probe)
        if term == "cross-entropy":
            return F.cross_entropy(backbone(images, theta), labels)
        wanted = [tensor + 0.1 for tensor in probe.source.trainable()]
        return parameter_distance(theta.trainable(), wanted, parameter_units(probe.source))

    loss().backward()  # type: ignore[no-untyped-call]
    random, step = torch.Generator().manual_seed(2), 1e-5
    for name, parameter in generator.named_parameters():
        if term == "huber" and name.startswith("mix_head"):  # fine-tuning leaves the mixing as it is
            assert parameter.grad is None
            continue
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-10, name
        values, index = parameter.detach().view(-1), int(torch.randint(parameter.numel(), (), generator=random))
        start, found = values[index].item(), []
        for offset in (step, -step):
            values[index] = start + offset
            found.append(loss().item())
        values[index] = start
        expected = (found[0] - found[1]) / (2 * step)
        assert parameter.grad.view(-1)[index].item() == pytest.approx(expected, rel=1e-4, abs=1e-9), name


@pytest.mark.parametrize("batch", [1, 2, 257])
def test_any_batch_size_gives_finite_parameters(
    make_vector: Callable[..., VectorGenerator],
    backbone: Backbone,
    make_images: Callable[..., torch.Tensor],
    batch: int,
) -> None:
    found = probe_source(backbone, make_images(batch), prior_count=16.0, gradients=True)
    assert torch.isfinite(flat(generate(make_vector(), found))).all()


@pytest.mark.parametrize("option", [{"width": 32}, {"depth": 3}, {"feed_forward": 8}], ids=str)
def test_every_size_option_counts(make_vector: Callable[..., VectorGenerator], option: dict[str, int]) -> None:
    def count(generator: VectorGenerator) -> int:
        return sum(parameter.numel() for parameter in generator.parameters())

    assert count(make_vector(**option)) != count(make_vector())
