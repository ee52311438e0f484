from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.generators import ChannelGenerator, Generator, Scope
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.static import StaticModel, StaticSample

Images = Callable[..., torch.Tensor]


@pytest.fixture
def model(perturb: Callable[..., None]) -> GeneralizeFormer:
    """Residuals and mixing off their zeros, different for every batch."""
    torch.manual_seed(0)
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4).double()
    perturb(generator, 0.3)
    return GeneralizeFormer(generator, prior_count=5.0).eval()


def kept(model: GeneralizeFormer, backbone: Backbone, batches: list[torch.Tensor]) -> Parameters:
    sample = StaticSample(backbone)
    for batch in batches:
        sample.add(model, batch)
    return sample.theta()


@pytest.mark.parametrize("network", ["backbone", "narrow_resnet"])
def test_on_its_own_sample_it_predicts_what_was_generated(
    network: str, request: pytest.FixtureRequest, model: GeneralizeFormer, make_images: Images
) -> None:
    backbone: Backbone = request.getfixturevalue(network)
    images = make_images(6)
    generated = model(backbone, images)
    static = StaticModel(kept(model, backbone, [images]))(backbone, images)
    torch.testing.assert_close(static.logits, generated.logits, rtol=1e-9, atol=1e-9)
    assert (static.logits - backbone(images)).abs().max() > 0.1
    assert static.parameters.mix is None
    assert all(torch.equal(a, b) for a, b in zip(static.probe.means, static.parameters.means or (), strict=True))


def test_in_single_precision_it_is_equal_within_rounding(
    make_network: Callable[..., nn.Module], model: GeneralizeFormer, make_images: Images
) -> None:
    backbone, images = Backbone(make_network().float()).freeze(), make_images(6).float()
    model.float()
    static = StaticModel(kept(model, backbone, [images]))
    torch.testing.assert_close(static(backbone, images).logits, model(backbone, images).logits, rtol=1e-4, atol=1e-5)


def test_one_image_gets_the_same_alone_and_in_a_batch(
    backbone: Backbone, model: GeneralizeFormer, make_images: Images
) -> None:
    static, images = StaticModel(kept(model, backbone, [make_images(6)])), make_images(4, seed=1)
    alone = torch.cat([static(backbone, image[None]).logits for image in images])
    torch.testing.assert_close(alone, static(backbone, images).logits)


def test_it_is_the_plain_network_with_its_tensors_in_place(
    make_network: Callable[..., nn.Module], model: GeneralizeFormer, make_images: Images
) -> None:
    backbone, images = Backbone(make_network()).freeze(), make_images(6)
    theta = kept(model, backbone, [images])
    plain = make_network()
    assert set(plain.state_dict()) > set(backbone.assignment(theta))
    plain.load_state_dict(plain.state_dict() | backbone.assignment(theta))
    torch.testing.assert_close(plain.eval()(images), StaticModel(theta)(backbone, images).logits)


def test_batches_are_averaged_by_their_number_of_images(
    backbone: Backbone, model: GeneralizeFormer, make_images: Images
) -> None:
    batches = [make_images(6), 2.0 * make_images(2, seed=1)]
    found = kept(model, backbone, batches)
    parts = [model(backbone, batch).parameters for batch in batches]
    for tensor, one, other in zip(found.trainable(), *(part.trainable() for part in parts), strict=True):
        torch.testing.assert_close(tensor, (6 * one + 2 * other) / 8)


def test_statistics_pool_the_batches_and_then_mix_with_the_source(
    backbone: Backbone, make_images: Images, perturb: Callable[..., None]
) -> None:
    # with source parameters and a fixed mixing, what the first layer meets does not depend on the batches
    torch.manual_seed(0)
    generator: Generator = ChannelGenerator(
        width=8, depth=1, heads=2, channel_width=4, scope=Scope(bn=False, classifier=False, mixing=False)
    ).double()
    perturb(generator, 0.3)
    batches = [make_images(4), make_images(4, seed=1) + 1.0]
    found = kept(GeneralizeFormer(generator, prior_count=4.0), backbone, batches)
    met = backbone.network[0](torch.cat(batches)).transpose(0, 1).flatten(1)
    (first, *_) = backbone.layers
    assert found.means is not None and found.variances is not None
    torch.testing.assert_close(found.means[0], 0.5 * first.running_mean + 0.5 * met.mean(dim=1))
    torch.testing.assert_close(found.variances[0], 0.5 * first.running_var + 0.5 * met.var(dim=1, unbiased=False))


def test_without_mixing_the_statistics_are_the_sources(
    backbone: Backbone, model: GeneralizeFormer, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = model.forward

    def unmixed(backbone: Backbone, images: torch.Tensor) -> Prediction:
        found = forward(backbone, images)
        assert found.parameters.mix is not None
        return replace(found, parameters=found.parameters.with_mix(torch.zeros_like(found.parameters.mix)))

    monkeypatch.setattr(model, "forward", unmixed)
    found = kept(model, backbone, [images])
    assert found.means is not None and found.variances is not None
    for layer, mean, variance in zip(backbone.layers, found.means, found.variances, strict=True):
        assert torch.equal(mean, layer.running_mean) and torch.equal(variance, layer.running_var)


def test_the_source_model_is_not_written_to(backbone: Backbone, model: GeneralizeFormer, images: torch.Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}
    StaticModel(kept(model, backbone, [images]))(backbone, images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.network.state_dict().items())


def test_what_is_not_finite_is_refused(backbone: Backbone, model: GeneralizeFormer, images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="not every generated parameter is finite"):
        kept(model, backbone, [images * float("nan")])
    with pytest.raises(ValueError, match="no image"):
        kept(model, backbone, [])


def test_parameters_that_depend_on_the_batch_are_refused(backbone: Backbone) -> None:
    source = backbone.source_parameters()
    for theta in (source, source.with_mix(torch.ones(2))):
        with pytest.raises(ValueError, match="statistics of their own"):
            StaticModel(theta)


def test_parameters_go_to_names_and_back(backbone: Backbone, model: GeneralizeFormer, images: torch.Tensor) -> None:
    theta = kept(model, backbone, [images])
    tensors = backbone.assignment(theta)
    again = backbone.parameters_from(tensors)
    for one, other in zip(theta.trainable(), again.trainable(), strict=True):
        assert torch.equal(one, other)
    assert all(map(torch.equal, theta.means or (), again.means or ()))
    assert all(map(torch.equal, theta.variances or (), again.variances or ()))
    with pytest.raises(KeyError, match="extra"):
        backbone.parameters_from(tensors | {"extra": torch.zeros(1)})
    with pytest.raises(KeyError, match=r"1\.running_var"):
        backbone.parameters_from({k: v for k, v in tensors.items() if k != "1.running_var"})
    with pytest.raises(ValueError, match=r"1\.weight has shape \(3,\), not \(4,\)"):
        backbone.parameters_from(tensors | {"1.weight": torch.zeros(3)})
