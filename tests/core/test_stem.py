from __future__ import annotations

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import ChannelGenerator, Reads


def count_calls(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """Grows by the input's size whenever the first convolution computes."""
    first = next(m for m in backbone.modules() if isinstance(m, nn.Conv2d))
    calls: list[torch.Size] = []
    compute = type(first)._conv_forward

    def counted(self: nn.Conv2d, input: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if self is first:
            calls.append(input.shape)
        return compute(self, input, *others)

    monkeypatch.setattr(type(first), "_conv_forward", counted)
    return calls


def test_the_first_convolution_computes_once_and_results_are_the_same_to_the_bit(
    narrow_resnet: Backbone, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = narrow_resnet.source_parameters().with_mix(torch.full((len(narrow_resnet.layers),), 0.5).double())
    with torch.no_grad():
        alone = narrow_resnet(images), narrow_resnet(images, other)
        calls = count_calls(narrow_resnet, monkeypatch)
        with narrow_resnet.sharing_stem(), narrow_resnet.sharing_stem():
            together = narrow_resnet(images), narrow_resnet(images, other)
    assert len(calls) == 1
    assert all(torch.equal(*pair) for pair in zip(alone, together, strict=True))


def test_nothing_is_remembered_afterwards(
    narrow_resnet: Backbone, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_calls(narrow_resnet, monkeypatch)
    for _ in range(2):
        with torch.no_grad(), narrow_resnet.sharing_stem():
            narrow_resnet(images)
    assert len(calls) == 2


def test_other_or_changed_images_are_computed(
    narrow_resnet: Backbone, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = images.clone()
    with torch.no_grad():
        part, whole = narrow_resnet(images[:2]), narrow_resnet(images)
        calls = count_calls(narrow_resnet, monkeypatch)
        with narrow_resnet.sharing_stem():
            assert torch.equal(narrow_resnet(images), whole)
            assert torch.equal(narrow_resnet(images[:2]), part)
            assert torch.equal(narrow_resnet(images), whole)
            assert len(calls) == 2
            images += 1.0
            assert not torch.equal(narrow_resnet(images), whole)
    assert len(calls) == 3


def test_a_network_that_writes_into_the_result_gets_a_new_one(images: torch.Tensor) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    backbone = Backbone(nn.Sequential(*layers, nn.Linear(4, 2)).double()).freeze()
    with torch.no_grad():
        alone = backbone(images)
        with backbone.sharing_stem():
            assert torch.equal(backbone(images), alone)
            assert torch.equal(backbone(-images), backbone(-images))
            assert torch.equal(backbone(images), alone)


def test_gradients_flow_through_a_convolution_that_is_trained(narrow_resnet: Backbone, images: torch.Tensor) -> None:
    narrow_resnet.requires_grad_(True)
    with narrow_resnet.sharing_stem():
        for _ in range(2):
            narrow_resnet(images).sum().backward()
    first = next(m for m in narrow_resnet.modules() if isinstance(m, nn.Conv2d))
    assert first.weight.grad is not None


def test_inference_mode_works_without_sharing(narrow_resnet: Backbone, images: torch.Tensor) -> None:
    with torch.inference_mode(), narrow_resnet.sharing_stem():
        assert torch.equal(narrow_resnet(images), narrow_resnet(images))


@pytest.mark.parametrize("gradients", [False, True])
def test_probe_and_prediction_share_it(
    narrow_resnet: Backbone, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch, gradients: bool
) -> None:
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4, reads=Reads(gradients=gradients)).double()
    method = GeneralizeFormer(generator, prior_count=4.0)
    calls = count_calls(narrow_resnet, monkeypatch)
    with torch.no_grad():
        method(narrow_resnet, images)
    assert len(calls) == 1
