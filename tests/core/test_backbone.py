from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.parameters import Parameters
from gformer_cli.errors import InputError
from gformer_cli.networks.norms import AdaptiveBatchNorm2d, current_pass

MIX = 0.3


def moved_parameters(backbone: Backbone, *, mix: float | None = MIX, requires_grad: bool = False) -> Parameters:
    """Parameters that differ from the source's in every entry."""
    random = torch.Generator().manual_seed(5)
    source = backbone.source_parameters()
    tensors = [
        (t.detach() + torch.randn(t.shape, generator=random, dtype=t.dtype)).requires_grad_(requires_grad)
        for t in source.trainable()
    ]
    layers = len(source.gammas)
    return source.with_trainable(tensors).with_mix(
        None if mix is None else torch.full((layers,), mix, dtype=torch.float64, requires_grad=requires_grad)
    )


def snapshot(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.state_dict().items()}


def assert_unchanged(backbone: Backbone, before: dict[str, torch.Tensor]) -> None:
    after = backbone.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_forward_is_bit_equal_to_the_original_network(
    make_network: Callable[..., nn.Module], images: torch.Tensor
) -> None:
    original = make_network()
    assert torch.equal(Backbone(copy.deepcopy(original)).freeze()(images), original(images))


def test_resnet_forward_is_bit_equal_to_the_original_network(narrow_resnet: Backbone, images: torch.Tensor) -> None:
    from gformer_cli.networks.build import build_network

    original = build_network("resnet18", 5, width=0.125, stem="small").double().eval()
    original.load_state_dict(narrow_resnet.network.state_dict())
    assert torch.equal(narrow_resnet(images), original(images))


def test_conversion_replaces_every_batchnorm_and_keeps_the_state_dict(
    make_network: Callable[..., nn.Module],
) -> None:
    network = make_network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    backbone = Backbone(network)
    assert backbone.layer_names == ["1", "4"] and backbone.classifier_name == "8"
    assert all(isinstance(layer, AdaptiveBatchNorm2d) for layer in backbone.layers)
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())


def test_training_mode_trains_like_the_original_network(
    make_network: Callable[..., nn.Module], images: torch.Tensor
) -> None:
    original = make_network()
    backbone = Backbone(copy.deepcopy(original))
    assert torch.equal(backbone.train()(images), original.train()(images))
    assert all(
        torch.equal(tensor, original.state_dict()[name]) for name, tensor in backbone.network.state_dict().items()
    )


def test_freeze_means_eval_mode_and_no_gradients(make_network: Callable[..., nn.Module]) -> None:
    backbone = Backbone(make_network()).train().freeze()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_source_parameters_are_the_models_own_tensors(backbone: Backbone) -> None:
    source = backbone.source_parameters()
    assert source.mix is None
    assert [g is layer.weight for g, layer in zip(source.gammas, backbone.layers, strict=True)] == [True, True]
    assert [b is layer.bias for b, layer in zip(source.betas, backbone.layers, strict=True)] == [True, True]
    assert source.weight is backbone.classifier.weight and source.bias is backbone.classifier.bias


@pytest.mark.parametrize("mix", [None, MIX])
def test_forward_with_parameters_equals_a_copy_that_holds_them(
    backbone: Backbone, images: torch.Tensor, mix: float | None
) -> None:
    parameters = moved_parameters(backbone, mix=mix)
    written = copy.deepcopy(backbone)
    with torch.no_grad():
        for index, layer in enumerate(written.layers):
            layer.weight.copy_(parameters.gammas[index])
            layer.bias.copy_(parameters.betas[index])
        written.classifier.weight.copy_(parameters.weight)
        written.classifier.bias.copy_(parameters.bias)
    mixing = written.source_parameters().with_mix(parameters.mix)
    assert torch.equal(backbone(images, parameters), written(images, mixing))
    if mix is None:
        torch.testing.assert_close(written(images), written(images, mixing), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(backbone(images, parameters), backbone(images))


def test_each_layer_gets_its_own_mixing(backbone: Backbone, images: torch.Tensor) -> None:
    source = backbone.source_parameters()
    first = backbone(images, source.with_mix(torch.tensor([1.0, 0.0], dtype=torch.float64)))
    second = backbone(images, source.with_mix(torch.tensor([0.0, 1.0], dtype=torch.float64)))
    assert not torch.allclose(first, second)


def test_source_is_bit_identical_after_forward_and_backward(narrow_resnet: Backbone, images: torch.Tensor) -> None:
    before = snapshot(narrow_resnet)
    parameters = moved_parameters(narrow_resnet, requires_grad=True)
    narrow_resnet(images, parameters).square().sum().backward()
    assert_unchanged(narrow_resnet, before)
    assert all(parameter.grad is None for parameter in narrow_resnet.parameters())


def test_backward_reaches_every_given_parameter(backbone: Backbone, images: torch.Tensor) -> None:
    parameters = moved_parameters(backbone, requires_grad=True)
    backbone(images, parameters).square().sum().backward()
    assert parameters.mix is not None
    for tensor in [*parameters.trainable(), parameters.mix]:
        assert tensor.grad is not None and tensor.grad.abs().sum() > 0.0


def test_observed_features_and_statistics_match_hooks(backbone: Backbone, images: torch.Tensor) -> None:
    parameters = moved_parameters(backbone)
    inputs: dict[nn.Module, torch.Tensor] = {}
    handles = [
        module.register_forward_pre_hook(lambda module, args: inputs.__setitem__(module, args[0]))
        for module in [*backbone.layers, backbone.classifier]
    ]
    expected_logits = backbone(images, parameters)
    for handle in handles:
        handle.remove()

    logits, session = backbone.observe(images, parameters)

    torch.testing.assert_close(logits, expected_logits, rtol=1e-12, atol=1e-12)
    assert session.features is not None
    torch.testing.assert_close(session.features, inputs[backbone.classifier], rtol=1e-12, atol=1e-12)
    assert sorted(session.means) == sorted(session.variances) == [0, 1]
    for index, layer in enumerate(backbone.layers):
        var, mean = torch.var_mean(inputs[layer], dim=(0, 2, 3), correction=0)
        torch.testing.assert_close(session.means[index], mean, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(session.variances[index], var, rtol=1e-10, atol=1e-12)


def test_observing_under_source_statistics_sees_the_batch_and_gives_the_same_logits(
    backbone: Backbone, images: torch.Tensor
) -> None:
    logits, session = backbone.observe(images)
    torch.testing.assert_close(logits, backbone(images), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(session.means[0], backbone.layers[0].running_mean)


def test_nothing_is_left_of_a_pass_even_after_an_error(backbone: Backbone, images: torch.Tensor) -> None:
    with pytest.raises(RuntimeError):
        backbone.observe(images[:, :2])
    assert current_pass() is None


def test_network_without_normalisation_is_refused() -> None:
    with pytest.raises(InputError, match="Sequential has no normalisation layer") as caught:
        Backbone(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 2)))
    assert "ResNets" in caught.value.hint


def test_what_cannot_be_adapted_is_named_with_its_reason() -> None:
    with pytest.raises(InputError, match=r"\(1: BatchNorm2d has no scale and shift of its own\)"):
        Backbone(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten(), nn.Linear(4, 2)))


def test_classifier_without_bias_gets_a_zero_one(make_network: Callable[..., nn.Module], images: torch.Tensor) -> None:
    original = make_network(bias=False)
    backbone = Backbone(copy.deepcopy(original)).freeze()
    assert torch.equal(backbone.classifier.bias, torch.zeros(3, dtype=torch.float64))
    assert torch.equal(backbone(images), original(images))
    assert backbone.num_classes == 3


def test_parameters_go_through_their_names_and_back(backbone: Backbone, images: torch.Tensor) -> None:
    mixing = moved_parameters(backbone)
    assert torch.equal(
        backbone(images, backbone.parameters_from(backbone.assignment(mixing))), backbone(images, mixing)
    )
    statistics = [(layer.running_mean + 0.1, 2 * layer.running_var) for layer in backbone.layers]
    fixed = mixing.with_statistics(tuple(mean for mean, _ in statistics), tuple(var for _, var in statistics))
    assert torch.equal(backbone(images, backbone.parameters_from(backbone.assignment(fixed))), backbone(images, fixed))
    named = backbone.assignment(mixing)
    with pytest.raises(KeyError, match="stray"):
        backbone.parameters_from(named | {"stray": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"1\.weight has shape"):
        backbone.parameters_from(named | {"1.weight": torch.zeros(1)})
