"""A copy whose BatchNorms normalise otherwise, and networks that have none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError
from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts
from gformer_cli.methods.normalisation import Normalisation, image_moments, moments, renormalised

NEED = ("note", "unmix-tns")


class _AsBefore(Normalisation):
    def normalised(self, input: torch.Tensor) -> torch.Tensor:
        return self.standardised(input, self.layer.running_mean, self.layer.running_var)


class _Ones(Normalisation):
    def normalised(self, input: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(input)


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_the_copy_is_the_network_where_it_normalises_as_before(
    parts: Parts, batches: list[torch.Tensor], format: torch.memory_format
) -> None:
    copied, made = renormalised(parts.backbone, _AsBefore)
    assert [norm.layer for norm in made] == copied.layers
    images = batches[0].contiguous(memory_format=format)
    torch.testing.assert_close(copied(images), parts.backbone(images))
    assert not any(isinstance(module, Normalisation) for module in parts.backbone.modules())


def test_an_activation_that_the_layer_holds_stays() -> None:
    timm = pytest.importorskip("timm")
    layer = timm.layers.BatchNormAct2d(2)
    network = nn.Sequential(nn.Conv2d(3, 2, 1), layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))
    backbone = Backbone(network, image_size=8).freeze()
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.copy_(torch.tensor([-3.0, 1.0]))
    _, (norm,) = renormalised(backbone, _Ones)
    assert norm(torch.zeros(1, 2, 4, 4)).amax(dim=(0, 2, 3)).tolist() == [0.0, 3.0]  # 2 - 3 is below 0
    assert norm(torch.zeros(1, 2)).shape == (1, 2)


def test_moments_of_a_batch_and_of_its_images() -> None:
    values = torch.tensor([[[1.0, 3.0]], [[5.0, 7.0]]])  # two images, one channel, two positions
    mean, variance = moments(values)
    assert (mean.tolist(), variance.tolist()) == ([4.0], [5.0])
    assert moments(values, correction=1)[1].tolist() == pytest.approx([20 / 3])
    mean, variance = image_moments(values, correction=1)
    assert (mean.tolist(), variance.tolist()) == ([[2.0], [6.0]], [[2.0], [2.0]])
    assert moments(values[:1, :, :1], correction=1)[1].tolist() == [0.0]  # one value has no spread


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("correction", [0, 1])
@pytest.mark.parametrize(("of", "axes"), [(moments, (0, 2)), (image_moments, 2)])
def test_moments_and_their_gradients_are_the_librarys(
    memory_format: torch.memory_format, correction: int, of: Any, axes: Any
) -> None:
    drawn = torch.randn(3, 5, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images = (drawn + 2.0).contiguous(memory_format=memory_format)
    weights = torch.rand(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = []
    for ours in (True, False):
        input = images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        values = input.flatten(2)
        pair = of(values, correction=correction) if ours else torch.var_mean(values, axes, correction=correction)[::-1]
        sum((one * weight).sum() for one, weight in zip(pair, weights, strict=True)).backward()
        found.append((*pair, input.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_standardised_by_statistics_of_a_batch_or_of_images(memory_format: torch.memory_format) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2 * 64, 3))
    layer = Backbone(network, image_size=8).freeze().layers[0]
    norm = Normalisation(layer).double()
    images = torch.randn(3, 2, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = images.contiguous(memory_format=memory_format).flatten(2)
    for shape in ((2,), (3, 2)):
        mean, variance = torch.full(shape, 0.5).double(), torch.full(shape, 4.0).double()
        expected = (values - 0.5) / (4.0 + norm.eps) ** 0.5
        torch.testing.assert_close(norm.standardised(values, mean, variance), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NEED)
def test_without_batchnorm_a_method_that_needs_it_says_so(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 64, 3))
    backbone = Backbone(network, image_size=8).freeze()
    with pytest.raises(InputError, match="cannot adapt this network") as error:
        METHODS[name](backbone)
    assert error.value.hint == "It needs BatchNorm, and the network has GroupNorm alone."
    assert [key for key, method in METHODS.items() if method.needs_batchnorm] == sorted(NEED, key=[*METHODS].index)
