"""Networks by name: torchvision's ResNet family, optionally narrow and for small images."""

from __future__ import annotations

import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from gformer_cli.errors import InputError, did_you_mean

NETWORKS = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
_SCALABLE: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
    "resnet152": (Bottleneck, [3, 8, 36, 3]),
}


def build_network(name: str, num_classes: int, *, stem: str = "standard", width: float = 1.0) -> nn.Module:
    """A freshly initialised network that maps (B, 3, H, W) to (B, `num_classes`).

    `stem` small: a 3x3 convolution of stride 1 and no max-pooling, as is usual below 64 pixels.
    `width` multiplies the channels of every stage. Raises `InputError` for an unknown name.
    """
    if name not in NETWORKS:
        raise InputError(f"unknown backbone: {name!r}", did_you_mean(name, NETWORKS))
    if width == 1.0:
        network = torchvision.models.get_model(name, weights=None, num_classes=num_classes)
        assert isinstance(network, ResNet)
    elif name in _SCALABLE:
        network = _ScaledResNet(*_SCALABLE[name], num_classes, width)
    else:
        raise InputError(f"backbone {name} has no settable width", f"Width works with: {', '.join(_SCALABLE)}.")
    if stem == "small":
        network.conv1 = _convolution(network.conv1.out_channels, kernel=3, stride=1)
        network.maxpool = nn.Identity()
    assert isinstance(network, nn.Module)
    return network


class _ScaledResNet(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet with every stage `width` times as wide; the names in its state dict are the same."""

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: list[int], num_classes: int, width: float) -> None:
        self.width = width  # `_make_layer` needs it before the base class returns
        super().__init__(block, layers, num_classes)
        channels = self._scaled(64)
        self.conv1 = _convolution(channels, kernel=7, stride=2)
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(self._scaled(512) * block.expansion, num_classes)

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:
        if planes == 64:  # the first stage reads the stem
            self.inplanes = self._scaled(64)
        stage: nn.Sequential = super()._make_layer(block, self._scaled(planes), blocks, stride, dilate)
        return stage

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))


def _convolution(channels: int, *, kernel: int, stride: int) -> nn.Conv2d:
    layer = nn.Conv2d(3, channels, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
