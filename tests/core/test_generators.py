from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import (
    ChannelGenerator,
    ConstantGenerator,
    Generator,
    Observed,
    Reads,
    Residuals,
    generate,
)
from gformer_cli.core.generators.base import Step
from gformer_cli.core.generators.generation import Generation
from gformer_cli.core.gradients import GradientFeatures
from gformer_cli.core.losses import parameter_distance, parameter_units
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, probe_source

MakeProbe = Callable[..., Probe]
Perturb = Callable[..., None]


def make_channel(**options: Any) -> ChannelGenerator:
    torch.manual_seed(0)
    defaults = {"width": 16, "depth": 2, "heads": 2, "channel_width": 8}
    return ChannelGenerator(**(defaults | options)).double()


def all_tensors(found: Residuals | Parameters) -> list[torch.Tensor]:
    assert found.mix is not None and found.weight is not None and found.bias is not None
    return [*found.gammas, *found.betas, found.mix, found.weight, found.bias]


def assert_equal(a: Residuals | Parameters, b: Residuals | Parameters) -> None:
    assert all(torch.equal(x, y) for x, y in zip(all_tensors(a), all_tensors(b), strict=True))


def assert_close(a: Residuals | Parameters, b: Residuals | Parameters) -> None:
    for x, y in zip(all_tensors(a), all_tensors(b), strict=True):
        torch.testing.assert_close(x, y, rtol=0.0, atol=1e-11)


def differs(a: Residuals | Parameters, b: Residuals | Parameters) -> bool:
    return any((x - y).abs().max() > 1e-9 for x, y in zip(all_tensors(a), all_tensors(b), strict=True))


def gradients_of(probe: Probe) -> GradientFeatures:
    assert probe.gradients is not None
    return probe.gradients


def replaced(parts: Sequence[torch.Tensor], index: int, value: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(value if position == index else part for position, part in enumerate(parts))


def permute_channels(probe: Probe, layer: int, order: torch.Tensor) -> Probe:
    def move(parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return replaced(parts, layer, parts[layer][order])

    gradients = gradients_of(probe)
    return replace(
        probe,
        source=replace(probe.source, gammas=move(probe.source.gammas), betas=move(probe.source.betas)),
        source_means=move(probe.source_means),
        source_variances=move(probe.source_variances),
        means=move(probe.means),
        variances=move(probe.variances),
        gradients=replace(gradients, gammas=move(gradients.gammas), betas=move(gradients.betas)),
    )


def permute_classes(probe: Probe, order: torch.Tensor) -> Probe:
    gradients = gradients_of(probe)
    return replace(
        probe,
        source=replace(probe.source, weight=probe.source.weight[order], bias=probe.source.bias[order]),
        logits=probe.logits[:, order],
        gradients=replace(gradients, weight=gradients.weight[order], bias=gradients.bias[order]),
    )


def permute_features(probe: Probe, order: torch.Tensor) -> Probe:
    gradients = gradients_of(probe)
    return replace(
        probe,
        source=replace(probe.source, weight=probe.source.weight[:, order]),
        features=probe.features[:, order],
        gradients=replace(gradients, weight=gradients.weight[:, order]),
    )


# --- residuals


class Given(Generator):
    """Gives the same residuals for whatever it is shown."""

    def __init__(self, residuals: Residuals) -> None:
        super().__init__()
        self.given = residuals

    def begin(self, source: Parameters, batch_size: int) -> Step:
        return lambda observed: self.given


def added(residuals: Residuals, source: Parameters) -> Parameters:
    """θ_s + Δ."""
    assert residuals.weight is not None
    generation = Generation(Given(residuals), source, 1)
    nothing = (source.gammas[0], source.gammas[0])
    shown = (nothing,) * len(source.gammas)
    generation.take(Observed(range(len(shown)), shown, shown))
    return generation.parameters()


def test_residuals_are_added_in_units_of_the_sources_scale(make_probe: MakeProbe) -> None:
    source = make_probe(channels=(2, 2)).source
    ones = torch.ones(2, dtype=torch.float64)
    step = Residuals(
        (ones, ones), (2 * ones, ones), 0.7 * ones, torch.ones_like(source.weight), torch.ones_like(source.bias)
    )
    theta = added(step, source)
    assert theta.mix is not None and source.mix is not None
    unit = source.gammas[0].square().mean().sqrt()
    torch.testing.assert_close(theta.gammas[0], source.gammas[0] + unit)
    torch.testing.assert_close(theta.betas[0], source.betas[0] + 2 * unit)
    torch.testing.assert_close(theta.weight, source.weight + source.weight.square().mean().sqrt())
    torch.testing.assert_close(theta.bias, source.bias + 1.0)
    torch.testing.assert_close(theta.mix, torch.sigmoid(torch.logit(source.mix) + 0.7))


@pytest.mark.parametrize("share", [1e-6, 0.5, 1.0 - 1e-6])
@pytest.mark.parametrize("step", [-50.0, 50.0])
def test_generated_mixing_stays_between_zero_and_one(make_probe: MakeProbe, share: float, step: float) -> None:
    probe = make_probe()
    still = ChannelGenerator(width=8, heads=2).double().residuals(probe)
    source = probe.source.with_mix(torch.full((2,), share, dtype=torch.float64))
    mix = added(replace(still, mix=torch.full((2,), step, dtype=torch.float64)), source).mix
    assert mix is not None and (mix >= 0.0).all() and (mix <= 1.0).all()
    torch.testing.assert_close(mix, torch.full_like(mix, float(step > 0)), rtol=0.0, atol=2e-4)


@pytest.mark.parametrize("share", [1e-6, 1 / 17, 64 / 80, 1.0 - 1e-6])
def test_zero_residual_keeps_the_probes_mixing_to_the_last_bit(make_probe: MakeProbe, share: float) -> None:
    probe = make_probe()
    source = probe.source.with_mix(torch.full((2,), share, dtype=torch.float64))
    mix = added(make_channel().residuals(probe), source).mix
    assert mix is not None and torch.equal(mix, torch.full((2,), share, dtype=torch.float64))


# --- an untrained generator is the source model


def test_untrained_generators_give_exactly_the_source(backbone: Backbone, images: torch.Tensor) -> None:
    for generator in (make_channel(), make_channel(reads=Reads(gradients=False)), ConstantGenerator(backbone)):
        probe = probe_source(backbone, images, prior_count=16.0, gradients=generator.reads_gradients)
        theta = generate(generator, probe)
        assert_equal(theta, probe.source)
        assert torch.equal(backbone(images, theta), backbone(images, probe.source))


# --- the channel generator's structure


@pytest.mark.parametrize("layer", [0, 1])
def test_permuting_a_layers_channels_permutes_its_residuals_and_nothing_else(
    make_probe: MakeProbe, perturb: Perturb, layer: int
) -> None:
    generator, probe = make_channel(), make_probe()
    perturb(generator, 0.3)
    order = torch.randperm(len(probe.means[layer]), generator=torch.Generator().manual_seed(1))
    plain = generator.residuals(probe)
    expected = replace(
        plain,
        gammas=replaced(plain.gammas, layer, plain.gammas[layer][order]),
        betas=replaced(plain.betas, layer, plain.betas[layer][order]),
    )
    assert differs(plain, expected)
    assert_close(generator.residuals(permute_channels(probe, layer, order)), expected)


def test_permuting_classes_permutes_their_residuals_and_nothing_else(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(), make_probe(classes=4)
    perturb(generator, 0.3)
    order = torch.tensor([2, 0, 3, 1])
    plain = generator.residuals(probe)
    expected = replace(plain, weight=plain.weight[order], bias=plain.bias[order])
    assert differs(plain, expected)
    assert_close(generator.residuals(permute_classes(probe, order)), expected)


def test_permuting_features_permutes_the_classifiers_columns(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(), make_probe(features=5)
    perturb(generator, 0.3)
    order = torch.tensor([4, 0, 3, 1, 2])
    plain = generator.residuals(probe)
    expected = replace(plain, weight=plain.weight[:, order])
    assert differs(plain, expected)
    assert_close(generator.residuals(permute_features(probe, order)), expected)


def test_permuting_the_images_changes_nothing(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(), make_probe()
    perturb(generator, 0.3)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    shuffled = replace(probe, logits=probe.logits[order], features=probe.features[order])
    assert_close(generator.residuals(shuffled), generator.residuals(probe))


def test_layers_are_told_apart_by_their_depth(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(), make_probe(channels=(5, 5))
    perturb(generator, 0.3)

    def twice(parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (parts[0], parts[0])

    gradients = gradients_of(probe)
    alike = replace(
        probe,
        source=replace(probe.source, gammas=twice(probe.source.gammas), betas=twice(probe.source.betas)),
        source_means=twice(probe.source_means),
        source_variances=twice(probe.source_variances),
        means=twice(probe.means),
        variances=twice(probe.variances),
        gradients=replace(gradients, gammas=twice(gradients.gammas), betas=twice(gradients.betas)),
    )
    found = generator.residuals(alike)
    assert not torch.allclose(found.gammas[0], found.gammas[1])
    assert not torch.allclose(found.mix[0], found.mix[1])


def test_one_generator_serves_networks_of_any_depth_width_and_class_count(
    make_backbone: Callable[..., Backbone], narrow_resnet: Backbone, images: torch.Tensor, perturb: Perturb
) -> None:
    generator = make_channel()
    perturb(generator, 0.1)
    networks = [make_backbone((4,), 2), make_backbone((4, 6), 3), make_backbone((3, 5, 7), 9), narrow_resnet]
    for network in networks:
        probe = probe_source(network, images, prior_count=16.0, gradients=True)
        theta = generate(generator, probe)
        assert [t.shape for t in theta.trainable()] == [t.shape for t in network.source_parameters().trainable()]
        assert theta.mix is not None and theta.mix.shape == (len(network.layer_names),)
        assert differs(theta, probe.source)
        assert torch.isfinite(network(images, theta)).all()


@pytest.mark.parametrize("batch", [1, 2, 65])
@pytest.mark.parametrize("reads_gradients", [True, False])
def test_any_batch_size_gives_finite_parameters(
    backbone: Backbone, make_images: Callable[..., torch.Tensor], perturb: Perturb, batch: int, reads_gradients: bool
) -> None:
    generator = make_channel(reads=Reads(gradients=reads_gradients))
    perturb(generator, 0.3)
    probe = probe_source(backbone, make_images(batch), prior_count=16.0, gradients=reads_gradients)
    assert all(torch.isfinite(tensor).all() for tensor in all_tensors(generate(generator, probe)))


def test_degenerate_evidence_gives_finite_parameters(make_probe: MakeProbe, perturb: Perturb) -> None:
    """Dead channels, vanished gradients, features that are all zero, logits that are certain, one class."""
    generator, probe = make_channel(), make_probe(classes=1)
    perturb(generator, 0.3)

    def zero(parts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return tuple(torch.zeros_like(part) for part in parts)

    gradients = gradients_of(probe)
    dead = replace(
        probe,
        source_variances=zero(probe.source_variances),
        variances=zero(probe.variances),
        logits=torch.full_like(probe.logits, 1e4),
        features=torch.zeros_like(probe.features),
        gradients=GradientFeatures(
            zero(gradients.gammas), zero(gradients.betas), 0 * gradients.weight, 0 * gradients.bias
        ),
    )
    assert all(torch.isfinite(tensor).all() for tensor in all_tensors(generate(generator, dead)))


# --- every ingredient counts


Change = Callable[[torch.Tensor], torch.Tensor]


def bent(value: torch.Tensor) -> torch.Tensor:
    """Other values of the same sign, not a multiple of `value`."""
    return value * torch.linspace(0.5, 2.0, value.numel(), dtype=value.dtype).view_as(value)


def rolled(value: torch.Tensor) -> torch.Tensor:
    """The same values in other places, so that nothing pooled over them changes."""
    return value.roll(1)


def doubled(value: torch.Tensor) -> torch.Tensor:
    return 2.0 * value


def changed(probe: Probe, name: str, change: Change) -> Probe:
    """`probe` with one ingredient changed; of those that come per layer, the second layer's."""

    def apply(holder: Any, field: str) -> Any:
        value = getattr(holder, field)
        moved = replaced(value, 1, change(value[1])) if isinstance(value, tuple) else change(value)
        return replace(holder, **{field: moved})

    part, _, field = name.rpartition(".")
    if part:
        return replace(probe, **{part: apply(getattr(probe, part), field)})
    found: Probe = apply(probe, field)
    return found


GRADIENTS = ["gradients.gammas", "gradients.betas", "gradients.weight", "gradients.bias"]
EVIDENCE = ["source.gammas", "source.betas", "source.weight", "source.bias", "source_means", "source_variances"]
EVIDENCE += ["means", "variances", "logits", "features", *GRADIENTS]


@pytest.mark.parametrize("change", [bent, rolled])
@pytest.mark.parametrize("name", EVIDENCE)
def test_every_ingredient_changes_the_residuals(
    make_probe: MakeProbe, perturb: Perturb, name: str, change: Change
) -> None:
    generator, probe = make_channel(), make_probe()
    perturb(generator, 0.3)
    assert differs(generator.residuals(changed(probe, name, change)), generator.residuals(probe))


@pytest.mark.parametrize("name", ["gradients.gammas", "gradients.betas", "gradients.bias"])
def test_size_of_the_gradients_changes_the_residuals(make_probe: MakeProbe, perturb: Perturb, name: str) -> None:
    generator, probe = make_channel(), make_probe()
    perturb(generator, 0.3)
    assert differs(generator.residuals(changed(probe, name, doubled)), generator.residuals(probe))


def test_the_map_of_a_layer_moves_its_channels_along_their_gradients(make_probe: MakeProbe) -> None:
    generator, probe = make_channel(), make_probe()
    with torch.no_grad():  # evidence is γ, β, two shifts, the gradient of γ, that of β; outputs are Δγ, Δβ
        generator.channel_map.bias.view(2, 6)[0, 4] = -1.0
        generator.channel_map.bias.view(2, 6)[1, 5] = -2.0
    found, gradients = generator.residuals(probe), gradients_of(probe)
    for layer, gamma in enumerate(probe.source.gammas):
        for moved, gradient, gain in ((found.gammas, gradients.gammas, -0.1), (found.betas, gradients.betas, -0.2)):
            size = gradient[layer].square().mean().sqrt()
            slope = size * gamma.square().mean().sqrt() * len(gamma) ** 0.5
            expected = gain * gradient[layer] / size * slope / (slope + 0.02)
            torch.testing.assert_close(moved[layer], expected, rtol=1e-9, atol=1e-12)
    assert not found.weight.any()


def test_the_map_of_a_class_moves_its_row_along_its_evidence(make_probe: MakeProbe) -> None:
    generator, probe = make_channel(), make_probe()
    with torch.no_grad():  # evidence is W, the mean feature, the class's own less the mean, the gradient
        generator.entry_map.bias[3] = -1.0
    gradient = gradients_of(probe).weight
    expected = -0.1 * gradient / gradient.square().mean().sqrt()
    torch.testing.assert_close(generator.residuals(probe).weight, expected, rtol=1e-9, atol=1e-12)


def test_gradients_of_the_size_of_rounding_errors_are_no_direction(make_probe: MakeProbe) -> None:
    generator, probe = make_channel(), make_probe()
    with torch.no_grad():
        generator.channel_map.bias.view(2, 6)[0, 4] = -1.0
    for size, least, most in ((1.0, 0.05, 0.2), (1e-5, 0.0, 1e-3), (0.0, 0.0, 0.0)):
        tiny = replace(gradients_of(probe), gammas=tuple(size * g for g in gradients_of(probe).gammas))
        moved = torch.cat(generator.residuals(replace(probe, gradients=tiny)).gammas).abs().max()
        assert least <= moved <= most


def test_which_image_has_which_features_changes_the_residuals(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(), make_probe()
    perturb(generator, 0.3)
    swapped = replace(probe, features=probe.features.roll(1, dims=0))
    assert differs(generator.residuals(swapped), generator.residuals(probe))


def test_batch_size_changes_the_residuals(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(), make_probe()
    perturb(generator, 0.3)
    doubled = replace(probe, logits=probe.logits.repeat(2, 1), features=probe.features.repeat(2, 1))
    assert differs(generator.residuals(doubled), generator.residuals(probe))


def test_generator_without_gradients_ignores_them(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(reads=Reads(gradients=False)), make_probe()
    perturb(generator, 0.3)
    expected = generator.residuals(probe)
    assert not generator.reads_gradients
    assert_equal(generator.residuals(replace(probe, gradients=None)), expected)
    for name in GRADIENTS:
        assert_equal(generator.residuals(changed(probe, name, bent)), expected)


def test_generator_without_statistics_ignores_them(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(reads=Reads(statistics=False)), make_probe()
    perturb(generator, 0.3)
    expected = generator.residuals(probe)
    for name in ("source_means", "source_variances", "means", "variances"):
        assert_equal(generator.residuals(changed(probe, name, bent)), expected)
    assert differs(generator.residuals(changed(probe, "features", bent)), expected)


def test_generator_without_features_ignores_them(make_probe: MakeProbe, perturb: Perturb) -> None:
    generator, probe = make_channel(reads=Reads(features=False)), make_probe()
    perturb(generator, 0.3)
    expected = generator.residuals(probe)
    assert_equal(generator.residuals(changed(probe, "features", bent)), expected)
    assert differs(generator.residuals(changed(probe, "means", bent)), expected)


@pytest.mark.parametrize(
    "option", [{"width": 32}, {"depth": 1}, {"depth": 3}, {"channel_width": 4}, {"feed_forward": 8}], ids=str
)
def test_every_size_option_changes_the_number_of_weights(option: dict[str, Any]) -> None:
    def count(generator: nn.Module) -> int:
        return sum(parameter.numel() for parameter in generator.parameters())

    assert count(make_channel(**option)) != count(make_channel())


def test_number_of_heads_changes_the_result_of_the_same_weights(make_probe: MakeProbe, perturb: Perturb) -> None:
    one, four, probe = make_channel(heads=1), make_channel(heads=4), make_probe()
    perturb(one, 0.3)
    four.load_state_dict(one.state_dict())
    assert differs(one.residuals(probe), four.residuals(probe))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="width 10 is not divisible by heads 4"):
        ChannelGenerator(width=10, heads=4)


def test_default_generator_is_small() -> None:
    assert sum(parameter.numel() for parameter in ChannelGenerator().parameters()) < 250_000


# --- no state


def test_a_probe_gives_the_same_residuals_whatever_came_before(
    make_probe: MakeProbe, backbone: Backbone, images: torch.Tensor, perturb: Perturb
) -> None:
    generator, probe = make_channel(), make_probe()
    perturb(generator, 0.3)
    generator.eval()
    weights = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    alone = generator.residuals(probe)
    generator.residuals(probe_source(backbone, images, prior_count=16.0, gradients=True))
    generator.residuals(make_probe(channels=(3, 9, 2), classes=5))
    assert_equal(generator.residuals(probe), alone)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in generator.state_dict().items())


# --- training signals


LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def cross_entropy_of(generator: Generator, backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    probe = probe_source(backbone, images, prior_count=16.0, gradients=True)
    return F.cross_entropy(backbone(images, generate(generator, probe)), LABELS)


def huber_of(generator: Generator, backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    probe = probe_source(backbone, images, prior_count=16.0, gradients=True)
    wanted = [tensor + 0.1 for tensor in probe.source.trainable()]
    return parameter_distance(generate(generator, probe).trainable(), wanted, parameter_units(probe.source))


def trained_channel(perturb: Perturb) -> ChannelGenerator:
    """Fresh weights, with the last layers moved a little off their zeros."""
    generator = make_channel()
    perturb(generator, 0.05)
    return generator


def test_cross_entropy_reaches_every_weight(backbone: Backbone, images: torch.Tensor, perturb: Perturb) -> None:
    generator = trained_channel(perturb)
    cross_entropy_of(generator, backbone, images).backward()  # type: ignore[no-untyped-call]
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-9, name


def test_huber_reaches_every_weight_but_those_of_the_mixing(
    backbone: Backbone, images: torch.Tensor, perturb: Perturb
) -> None:
    generator = trained_channel(perturb)
    huber_of(generator, backbone, images).backward()  # type: ignore[no-untyped-call]
    for name, parameter in generator.named_parameters():
        if name.startswith("mix_head"):  # fine-tuning leaves the mixing as it is, so there is no distance
            assert parameter.grad is None
        else:
            assert parameter.grad is not None and parameter.grad.abs().max() > 1e-9, name


def test_untrained_last_layers_already_learn_from_the_cross_entropy(backbone: Backbone, images: torch.Tensor) -> None:
    generator = make_channel()
    cross_entropy_of(generator, backbone, images).backward()  # type: ignore[no-untyped-call]
    for layer in (generator.channel_head.output, generator.entry_head.output, generator.mix_head, generator.bias_head):
        assert layer.weight.grad is not None and layer.weight.grad.abs().max() > 0.0


@pytest.mark.parametrize("loss", [cross_entropy_of, huber_of])
def test_gradients_of_the_weights_match_finite_differences(
    backbone: Backbone, images: torch.Tensor, perturb: Perturb, loss: Callable[..., torch.Tensor]
) -> None:
    generator = trained_channel(perturb)
    loss(generator, backbone, images).backward()  # type: ignore[no-untyped-call]
    random, step = torch.Generator().manual_seed(2), 1e-5
    names = ["channel_input.0.weight", "entry_input.2.weight", "layer_token.weight", "class_token.weight"]
    names += ["batch_token.weight", "transformer.layers.0.self_attn.in_proj_weight", "norm.weight"]
    names += ["channel_head.from_token.weight", "channel_head.output.weight", "bias_head.weight"]
    for name in names:
        parameter = generator.get_parameter(name)
        assert parameter.grad is not None
        index = int(torch.randint(parameter.numel(), (), generator=random))
        flat, values = parameter.detach().view(-1), []
        start = flat[index].item()
        for offset in (step, -step):
            flat[index] = start + offset
            values.append(loss(generator, backbone, images).item())
        flat[index] = start
        expected = (values[0] - values[1]) / (2 * step)
        assert parameter.grad.view(-1)[index].item() == pytest.approx(expected, rel=1e-4, abs=1e-9), name


# --- the constant generator


def test_constant_generator_ignores_its_input(backbone: Backbone, make_probe: MakeProbe, perturb: Perturb) -> None:
    generator = ConstantGenerator(backbone)
    perturb(generator, 0.3)
    assert not generator.reads_gradients
    first = generator.residuals(make_probe(channels=(4, 6)))
    second = generator.residuals(make_probe(channels=(4, 6), batch=3))
    assert_equal(first, second)
    assert first.gammas[0].abs().max() > 0.0


def test_constant_generator_has_one_weight_per_generated_number_and_learns_all(
    backbone: Backbone, images: torch.Tensor
) -> None:
    generator = ConstantGenerator(backbone).double()
    cross_entropy_of(generator, backbone, images).backward()  # type: ignore[no-untyped-call]
    source = backbone.source_parameters()
    assert sum(p.numel() for p in generator.parameters()) == sum(t.numel() for t in source.trainable()) + 2
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0.0, name
