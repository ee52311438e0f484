"""Generation on the way through the network. What both ways of generating owe is in `test_generalizeformer.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.generators import (
    ChannelGenerator,
    ConstantGenerator,
    Reads,
    Scope,
    SinglePass,
    VectorGenerator,
    evidence,
    generate,
)
from gformer_cli.core.generators.attention import GroupAttention
from gformer_cli.core.generators.base import encoder
from gformer_cli.core.parameters import Parameters

Make = Callable[..., ChannelGenerator]


@pytest.fixture
def make_generator(perturb: Callable[..., None]) -> Make:
    def make(
        scope: Scope | None = None, reads: Reads | None = None, on_constant_of: Backbone | None = None
    ) -> ChannelGenerator:
        torch.manual_seed(0)
        constant = None if on_constant_of is None else ConstantGenerator(on_constant_of)
        generator = ChannelGenerator(
            width=16,
            depth=2,
            heads=2,
            channel_width=8,
            reads=reads or Reads(gradients=False),
            scope=scope,
            constant=constant,
        ).double()
        perturb(generator, 0.2)
        return generator.eval()

    return make


def predict(generator: ChannelGenerator, backbone: Backbone, images: torch.Tensor) -> Prediction:
    prediction: Prediction = GeneralizeFormer(generator, prior_count=4.0, single_pass=True)(backbone, images)
    return prediction


def test_the_transformer_fed_group_by_group_is_one_with_a_causal_mask() -> None:
    torch.manual_seed(0)
    transformer = encoder(16, 2, 4, 32).double().eval()
    tokens = torch.randn(7, 16, dtype=torch.float64)
    groups = [1, 1, 2, 3]
    owner = torch.repeat_interleave(torch.arange(4), torch.tensor(groups))
    hidden = owner[None] > owner[:, None]  # a token may not look at later groups
    expected = transformer(tokens[None], mask=hidden)[0]
    causal = GroupAttention(transformer)
    found = torch.cat([causal(group) for group in tokens.split(groups)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_layer_depends_on_what_the_batch_showed_before_it(
    make_generator: Make, make_backbone: Callable[..., Backbone], images: torch.Tensor
) -> None:
    straight = predict(make_generator(), make_backbone((4, 6, 5)), images).parameters
    changed = make_backbone((4, 6, 5))
    changed.layers[1].running_mean += 1.0
    moved = predict(make_generator(), changed, images).parameters
    assert torch.equal(moved.gammas[0], straight.gammas[0])
    assert not torch.allclose(moved.gammas[1], straight.gammas[1])
    assert not torch.allclose(moved.gammas[2], straight.gammas[2])
    assert not torch.allclose(moved.weight, straight.weight)


def test_the_statistics_are_those_under_the_parameters_generated_so_far(
    make_generator: Make, backbone: Backbone, images: torch.Tensor
) -> None:
    prediction = predict(make_generator(), backbone, images)
    _, probe = backbone.observe(images, prediction.parameters)
    for index in range(2):
        assert torch.equal(prediction.probe.means[index], probe.means[index])
        assert torch.equal(prediction.probe.variances[index], probe.variances[index])
    assert probe.features is not None and torch.equal(prediction.probe.features, probe.features)
    under_source = replace(prediction.parameters, weight=backbone.classifier.weight, bias=backbone.classifier.bias)
    assert torch.equal(prediction.probe.logits, backbone(images, under_source))


def test_the_network_runs_once(make_generator: Make, backbone: Backbone, images: torch.Tensor) -> None:
    runs: list[int] = []
    backbone.network.register_forward_hook(lambda *_: runs.append(1))
    predict(make_generator(), backbone, images)
    assert runs == [1]


def test_nothing_stays_on_the_network(make_generator: Make, backbone: Backbone, images: torch.Tensor) -> None:
    before = backbone(images)
    predict(make_generator(), backbone, images)
    assert torch.equal(backbone(images), before)
    with pytest.raises(RuntimeError):
        predict(make_generator(), backbone, images[:, :2])
    assert torch.equal(backbone(images), before)


@pytest.mark.parametrize(
    ("scope", "generated"),
    [
        (Scope(), "first last mix weight bias"),
        (Scope(bn=False), "mix weight bias"),
        (Scope(classifier=False), "first last mix"),
        (Scope(bias=False), "first last mix weight"),
        (Scope(mixing=False), "first last weight bias"),
        (Scope(last_layers=1), "last mix weight bias"),
    ],
    ids=str,
)
def test_only_what_is_in_scope_is_generated(
    make_generator: Make, backbone: Backbone, images: torch.Tensor, scope: Scope, generated: str
) -> None:
    for generator in (make_generator(scope), make_generator(scope, on_constant_of=backbone)):
        prediction = predict(generator, backbone, images)
        found, source = _named(prediction.parameters), _named(prediction.probe.source)
        assert {name for name in found if not torch.equal(found[name], source[name])} == set(generated.split())


def _named(parameters: Parameters) -> dict[str, torch.Tensor]:
    assert parameters.mix is not None
    return {
        "first": torch.cat([parameters.gammas[0], parameters.betas[0]]),
        "last": torch.cat([parameters.gammas[-1], parameters.betas[-1]]),
        "mix": parameters.mix,
        "weight": parameters.weight,
        "bias": parameters.bias,
    }


def test_permuting_the_classes_permutes_the_classifier(
    make_generator: Make, make_network: Callable[..., nn.Module], images: torch.Tensor
) -> None:
    order = torch.tensor([2, 0, 1])
    straight = predict(make_generator(), Backbone(make_network()).freeze(), images)
    network = make_network()
    head = network[-1]  # type: ignore[index]
    with torch.no_grad():
        head.weight.copy_(head.weight[order])
        head.bias.copy_(head.bias[order])
    shuffled = predict(make_generator(), Backbone(network).freeze(), images)
    torch.testing.assert_close(shuffled.logits, straight.logits[:, order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("on_constant", [False, True])
def test_the_gradient_reaches_every_weight_and_is_right(
    make_generator: Make, backbone: Backbone, images: torch.Tensor, on_constant: bool
) -> None:
    generator = make_generator(on_constant_of=backbone if on_constant else None)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])

    def loss() -> torch.Tensor:
        # from parameters as well: the mean over classes, which predictions do not show, is generated too
        prediction = predict(generator, backbone, images)
        return nn.functional.cross_entropy(prediction.logits, labels) + prediction.parameters.weight.square().sum()

    gradients = torch.autograd.grad(loss(), list(generator.parameters()))
    for parameter, gradient in zip(generator.parameters(), gradients, strict=True):
        assert gradient.abs().sum() > 0.0
        at = int(gradient.abs().argmax())
        with torch.no_grad():
            flat, step = parameter.view(-1), 1e-6
            flat[at] += step
            above = loss()
            flat[at] -= 2 * step
            below = loss()
            flat[at] += step
        slope = (above - below) / (2 * step)
        torch.testing.assert_close(gradient.view(-1)[at], slope, rtol=1e-3, atol=1e-7)


def test_there_are_no_gradient_features(make_generator: Make, backbone: Backbone, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="no gradient features"):
        SinglePass(make_generator(reads=Reads()), backbone, len(images), prior_count=4.0)


def test_the_constant_generator_is_the_same_with_a_probe_and_without(
    backbone: Backbone, images: torch.Tensor, perturb: Callable[..., None]
) -> None:
    constant = ConstantGenerator(backbone, scope=Scope(bias=False)).double()
    perturb(constant, 0.3)
    runs: list[int] = []
    backbone.network.register_forward_hook(lambda *_: runs.append(1))
    once = GeneralizeFormer(constant, prior_count=4.0, single_pass=True)(backbone, images)
    assert runs == [1]
    probed = GeneralizeFormer(constant, prior_count=4.0)(backbone, images)
    assert torch.equal(once.logits, probed.logits) and not torch.equal(once.logits, backbone(images))
    assert torch.equal(once.parameters.bias, backbone.classifier.bias)


@pytest.mark.parametrize("single_pass", [False, True])
def test_what_is_generated_comes_on_top_of_a_learned_constant(
    make_generator: Make, backbone: Backbone, images: torch.Tensor, single_pass: bool
) -> None:
    generator = make_generator(on_constant_of=backbone)
    assert generator.constant is not None
    with torch.no_grad():
        for name, weight in generator.named_parameters():
            if not name.startswith("constant."):
                weight.zero_()  # the last projections among them: nothing is generated
    model = GeneralizeFormer(generator, prior_count=4.0, single_pass=single_pass)
    constant = GeneralizeFormer(generator.constant, prior_count=4.0, single_pass=single_pass)
    assert torch.equal(model(backbone, images).logits, constant(backbone, images).logits)
    assert not torch.equal(model(backbone, images).logits, backbone(images))


def test_a_constant_is_added_to_what_is_generated(
    make_generator: Make, backbone: Backbone, images: torch.Tensor
) -> None:
    alone, together = make_generator(), make_generator(on_constant_of=backbone)
    together.load_state_dict(alone.state_dict(), strict=False)  # the constant keeps its own weights
    assert together.constant is not None
    probe = predict(alone, backbone, images).probe
    learned = together.constant.residuals(probe)
    found, expected = generate(together, probe), generate(alone, probe)
    assert learned.weight is not None and learned.bias is not None
    for index, gamma in enumerate(probe.source.gammas):
        unit = gamma.square().mean().sqrt()
        torch.testing.assert_close(found.gammas[index], expected.gammas[index] + unit * learned.gammas[index])
        torch.testing.assert_close(found.betas[index], expected.betas[index] + unit * learned.betas[index])
    assert found.mix is not None and expected.mix is not None
    torch.testing.assert_close(torch.logit(found.mix), torch.logit(expected.mix) + learned.mix)
    unit = probe.source.weight.square().mean().sqrt()
    torch.testing.assert_close(found.weight, expected.weight + unit * learned.weight)
    torch.testing.assert_close(found.bias, expected.bias + learned.bias)


def test_the_vector_generator_needs_a_probe(backbone: Backbone, images: torch.Tensor) -> None:
    model = GeneralizeFormer(VectorGenerator(backbone).double(), prior_count=4.0, single_pass=True)
    with pytest.raises(ValueError, match="VectorGenerator needs a probe"):
        model(backbone, images)


@pytest.mark.parametrize("probe_first", [False, True])
def test_many_classes_are_read_a_part_at_a_time(
    make_generator: Make, make_network: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch, probe_first: bool
) -> None:
    """The same parameters, and never all entries at once, except where gradients are recorded."""
    generator = make_generator()
    backbone = Backbone(make_network(classes=23).double()).freeze()
    images = torch.randn(3, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = GeneralizeFormer(generator, prior_count=4.0, single_pass=not probe_first)
    sizes: list[int] = []
    generator.entry_input.register_forward_hook(lambda _module, inputs, _output: sizes.append(len(inputs[0])))
    monkeypatch.setattr(evidence, "ENTRIES", 5 * backbone.classifier.in_features)
    whole = model(backbone, images).parameters
    assert sizes == [23]
    sizes.clear()
    with torch.no_grad():
        parts = model(backbone, images).parameters
    assert sizes == [5, 5, 5, 5, 3] * 2
    torch.testing.assert_close(parts.weight, whole.weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.bias, whole.bias, rtol=1e-12, atol=1e-12)
