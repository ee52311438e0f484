from __future__ import annotations

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.gradients import gradient_features
from gformer_cli.core.probe import prior_mix, probe_source


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-10)


def test_batchnorm_gradients_are_those_of_the_entropy(backbone: Backbone, images: torch.Tensor) -> None:
    gradients = probe_source(backbone, images, prior_count=16.0, gradients=True).gradients
    assert gradients is not None

    source = backbone.source_parameters().detached(requires_grad=True)
    logits = backbone(images, source.with_mix(prior_mix(backbone.source_parameters(), len(images), 16.0)))
    probabilities = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    loss = -(probabilities * probabilities.log()).sum() / len(images)
    expected = torch.autograd.grad(loss, [*source.gammas, *source.betas])

    for found, wanted in zip([*gradients.gammas, *gradients.betas], expected, strict=True):
        assert wanted.abs().max() > 1e-6
        assert_close(found, wanted)


def test_classifier_gradients_are_those_of_the_pseudo_label_cross_entropy(
    backbone: Backbone, images: torch.Tensor
) -> None:
    gradients = probe_source(backbone, images, prior_count=16.0, gradients=True).gradients
    assert gradients is not None

    source = backbone.source_parameters().detached(requires_grad=True)
    logits = backbone(images, source.with_mix(prior_mix(backbone.source_parameters(), len(images), 16.0)))
    loss = F.cross_entropy(logits, logits.argmax(dim=1))
    weight, bias = torch.autograd.grad(loss, [source.weight, source.bias])

    assert weight.abs().max() > 1e-6
    assert_close(gradients.weight, weight)
    assert_close(gradients.bias, bias)


def test_gradients_match_on_a_resnet(narrow_resnet: Backbone, images: torch.Tensor) -> None:
    leaves = narrow_resnet.source_parameters().detached(requires_grad=True)
    leaves = leaves.with_mix(prior_mix(narrow_resnet.source_parameters(), len(images), 16.0))
    logits, probe = narrow_resnet.observe(images, leaves)
    assert probe.features is not None
    probabilities = logits.softmax(dim=1)
    entropy = -(probabilities * probabilities.log()).sum(dim=1).mean()
    expected_bn = torch.autograd.grad(entropy, [*leaves.gammas, *leaves.betas], retain_graph=True)
    cross_entropy = F.cross_entropy(logits, logits.argmax(dim=1))
    expected_head = torch.autograd.grad(cross_entropy, [leaves.weight, leaves.bias], retain_graph=True)

    found = gradient_features(logits, probe.features, leaves)

    for a, b in zip([*found.gammas, *found.betas, found.weight, found.bias], expected_bn + expected_head, strict=True):
        assert_close(a, b)


def test_every_gradient_has_the_shape_of_its_tensor(backbone: Backbone, images: torch.Tensor) -> None:
    probe = probe_source(backbone, images, prior_count=16.0, gradients=True)
    assert probe.gradients is not None
    found = [*probe.gradients.gammas, *probe.gradients.betas, probe.gradients.weight, probe.gradients.bias]
    assert [t.shape for t in found] == [t.shape for t in probe.source.trainable()]
