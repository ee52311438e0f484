from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.probe import Probe, prior_mix, probe_source


def tensors_of(probe: Probe) -> list[torch.Tensor]:
    found = [*probe.source.trainable(), *probe.source_means, *probe.source_variances, *probe.means, *probe.variances]
    assert probe.source.mix is not None and probe.gradients is not None
    gradients = probe.gradients
    found += [probe.source.mix, probe.logits, probe.features, gradients.weight, gradients.bias]
    return [*found, *gradients.gammas, *gradients.betas]


@pytest.mark.parametrize(
    ("size", "prior", "share"), [(1, 16.0, 1 / 17), (16, 16.0, 0.5), (48, 16.0, 0.75), (3, 1.0, 0.75)]
)
def test_prior_mix_is_the_batchs_share_in_every_layer(
    backbone: Backbone, size: int, prior: float, share: float
) -> None:
    assert torch.equal(
        prior_mix(backbone.source_parameters(), size, prior), torch.full((2,), share, dtype=torch.float64)
    )


def test_probe_runs_the_source_model_under_mixed_statistics(backbone: Backbone, images: torch.Tensor) -> None:
    probe = probe_source(backbone, images, prior_count=10.0, gradients=False)
    source = backbone.source_parameters().with_mix(prior_mix(backbone.source_parameters(), len(images), 10.0))
    logits, session = backbone.observe(images, source)
    assert torch.equal(probe.logits, logits)
    assert session.features is not None and torch.equal(probe.features, session.features)
    for index, layer in enumerate(backbone.layers):
        assert torch.equal(probe.means[index], session.means[index])
        assert torch.equal(probe.variances[index], session.variances[index])
        assert torch.equal(probe.source_means[index], layer.running_mean)
        assert torch.equal(probe.source_variances[index], layer.running_var)
    assert torch.equal(probe.source.gammas[1], backbone.layers[1].weight)
    assert torch.equal(probe.source.weight, backbone.classifier.weight)


def test_prior_count_changes_what_the_probe_sees(backbone: Backbone, images: torch.Tensor) -> None:
    trusting = probe_source(backbone, images, prior_count=1000.0, gradients=False)
    doubting = probe_source(backbone, images, prior_count=0.01, gradients=False)
    assert not torch.allclose(trusting.logits, doubting.logits)
    # the first layer's input does not depend on any mixing, the second one's does
    assert torch.equal(trusting.means[0], doubting.means[0])
    assert not torch.allclose(trusting.means[1], doubting.means[1])


def test_gradients_are_taken_only_on_request(backbone: Backbone, images: torch.Tensor) -> None:
    without = probe_source(backbone, images, prior_count=16.0, gradients=False)
    with_them = probe_source(backbone, images, prior_count=16.0, gradients=True)
    assert without.gradients is None
    assert with_them.gradients is not None
    assert torch.equal(without.logits, with_them.logits)


@pytest.mark.parametrize("gradients", [True, False])
def test_the_pass_is_recorded_only_for_gradients(
    make_network: Callable[..., nn.Module], images: torch.Tensor, gradients: bool
) -> None:
    trainable, recorded = Backbone(make_network()).eval(), []
    trainable.classifier.register_forward_hook(lambda *_: recorded.append(torch.is_grad_enabled()))
    probe_source(trainable, images, prior_count=16.0, gradients=gradients)
    assert recorded == [gradients]


def test_nothing_in_a_probe_requires_grad(backbone: Backbone, images: torch.Tensor) -> None:
    assert not any(
        t.requires_grad for t in tensors_of(probe_source(backbone, images, prior_count=16.0, gradients=True))
    )


def test_nothing_requires_grad_even_for_a_model_that_is_not_frozen(
    make_network: Callable[..., nn.Module], images: torch.Tensor
) -> None:
    trainable = Backbone(make_network()).eval()
    probe = probe_source(trainable, images, prior_count=16.0, gradients=True)
    assert not any(tensor.requires_grad for tensor in tensors_of(probe))
    assert all(parameter.grad is None for parameter in trainable.parameters())


def test_gradients_are_the_same_under_no_grad(backbone: Backbone, images: torch.Tensor) -> None:
    outside = probe_source(backbone, images, prior_count=16.0, gradients=True)
    with torch.no_grad():
        inside = probe_source(backbone, images, prior_count=16.0, gradients=True)
        assert not torch.is_grad_enabled()
    for a, b in zip(tensors_of(outside), tensors_of(inside), strict=True):
        assert torch.equal(a, b)
    assert inside.gradients is not None and inside.gradients.gammas[0].abs().sum() > 0.0


def test_convolutions_get_no_gradient_and_stay_frozen(narrow_resnet: Backbone, images: torch.Tensor) -> None:
    before = {name: tensor.clone() for name, tensor in narrow_resnet.state_dict().items()}
    probe_source(narrow_resnet, images, prior_count=16.0, gradients=True)
    for parameter in narrow_resnet.parameters():
        assert parameter.grad is None and not parameter.requires_grad
    assert all(torch.equal(tensor, before[name]) for name, tensor in narrow_resnet.state_dict().items())
