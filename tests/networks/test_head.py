"""The head is the layer whose output is the answer, wherever it was defined."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError
from gformer_cli.networks.head import ConvolutionHead, LinearHead, find_head, last_linear, make_head


class Auxiliary(nn.Module):
    """A second linear layer of the same width is defined after the head, and runs after it."""

    def __init__(self, answers_other: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head, self.auxiliary = nn.Linear(4, 3), nn.Linear(4, 3)
        self.answers_other = answers_other

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.body(images)
        one, other = self.head(features), self.auxiliary(features)
        return other if self.answers_other else one  # type: ignore[no-any-return]


def convolutional(classes: int = 3) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Conv2d(6, classes, 1), nn.Flatten()),
    )


@pytest.mark.parametrize("answers_other", [False, True])
def test_it_is_found_by_what_it_answers(answers_other: bool) -> None:
    network = Auxiliary(answers_other).train()
    assert find_head(network, 16) == ("auxiliary" if answers_other else "head")
    assert network.training and network.body.training
    assert not any(module._forward_hooks for module in network.modules())


def test_an_auxiliary_layer_defined_last_is_adapted_past(make_network: Callable[..., nn.Module]) -> None:
    from gformer_cli.core.generalizeformer import GeneralizeFormer
    from gformer_cli.core.generators import ChannelGenerator, Reads

    torch.manual_seed(0)
    backbone = Backbone(Auxiliary(), image_size=16).freeze()
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4, reads=Reads(gradients=False))
    images = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        generator.bias_head.weight.fill_(1.0)
        generator.entry_map.bias.fill_(1.0)
        prediction = GeneralizeFormer(generator, prior_count=16.0, single_pass=True)(backbone, images)
    assert backbone.classifier_name == "head" and prediction.logits.shape == (5, 3)
    assert not torch.allclose(prediction.parameters.weight, backbone.classifier.matrix)


def test_a_convolution_of_one_position_is_a_head() -> None:
    network = convolutional().double().eval()
    images = torch.randn(5, 3, 16, 16, dtype=torch.float64)
    before = network(images)
    backbone = Backbone(network, image_size=16).freeze()
    assert backbone.classifier_name == "5" and isinstance(backbone.classifier, ConvolutionHead)
    assert torch.equal(backbone(images), before)
    source = backbone.source_parameters()
    assert source.weight.shape == (3, 6) and backbone.num_classes == 3
    torch.testing.assert_close(backbone(images, source), before, rtol=1e-12, atol=1e-12)
    moved = source.with_trainable([*source.gammas, *source.betas, source.weight + 1.0, source.bias + 1.0])
    _, session = backbone.observe(images, moved)
    assert session.features is not None and session.features.shape == (5, 6)
    expected = session.features @ (source.weight + 1.0).t() + source.bias + 1.0
    torch.testing.assert_close(backbone(images, moved), expected, rtol=1e-12, atol=1e-12)
    back = backbone.parameters_from(backbone.assignment(moved.with_mix(torch.zeros(1, dtype=torch.float64))))
    assert torch.equal(back.weight, moved.weight)


def test_one_without_a_bias_gains_one_of_zeros_and_its_state_is_as_before_otherwise() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3, bias=False))
    head = make_head(network, "1")
    assert isinstance(head, LinearHead) and torch.equal(head.bias, torch.zeros(3))
    assert list(network.state_dict()) == ["1.weight", "1.bias"]
    assert make_head(network, "1") is head


def test_no_head_is_told_with_the_layers_there_are() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3), nn.Softmax(dim=1))
    with pytest.raises(InputError, match="no linear layer's output is its answer") as caught:
        find_head(network, 16)
    assert "Its linear layers: 1." in caught.value.hint and "backbone.head=NAME" in caught.value.hint


def test_a_name_that_is_none_is_told_with_those_there_are() -> None:
    network = Auxiliary()
    with pytest.raises(InputError, match="has no layer 'haed'") as caught:
        make_head(network, "haed")
    assert "head" in caught.value.hint and "auxiliary" in caught.value.hint
    with pytest.raises(InputError, match=r"has a BatchNorm2d as 'body\.1'"):
        make_head(network, "body.1")


def test_without_a_size_some_are_tried() -> None:
    class Picky(Auxiliary):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if images.shape[-1] != 64:
                raise ValueError("64 please")
            return super().forward(images)

    assert find_head(Picky()) == "head"
    with pytest.raises(ValueError, match="64 please"):
        find_head(Picky(), 32)


def test_the_layer_defined_last_is_what_old_bundles_mean() -> None:
    assert last_linear(Auxiliary()) == "auxiliary"
    with pytest.raises(InputError, match="no linear classifier"):
        last_linear(nn.Sequential(nn.Conv2d(3, 4, 1)))
