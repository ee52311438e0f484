"""Networks of the training mix that the tool does not have by name: `--backbone FILE.py:FUNCTION`.

They are for images of 32 pixels, but for the two with ImageNet weights, which are for 64. Those are torchvision's and
timm's own: as somebody's code they keep torch's usual memory layout, in which GPUs are fast at depthwise convolutions.
"""

from __future__ import annotations

import timm
from torch import nn
from torchvision.models import DenseNet, mobilenet_v2, shufflenet_v2_x0_5
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vgg import make_layers

from gformer_cli.networks.build import build_network

_GROUP = 8
"""Channels that a GroupNorm normalises together."""


def resnet_wide(num_classes: int) -> nn.Module:
    """A ResNet-18 at half its width; it pools after its stem, so that it costs as much as a quarter without."""
    network = build_network("resnet18", num_classes, stem="small", width=0.5)
    network.maxpool = nn.MaxPool2d(2)
    return network


def resnet_groupnorm(num_classes: int) -> nn.Module:
    """A ResNet-18 at a quarter of its width with GroupNorm in the place of BatchNorm."""
    network = build_network("resnet18", num_classes, stem="small", width=0.25)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            parent, _, own = name.rpartition(".")
            channels = layer.num_features
            setattr(network.get_submodule(parent), own, nn.GroupNorm(channels // _GROUP, channels))
    return network


def vgg(num_classes: int) -> nn.Module:
    """VGG-11 with BatchNorm at a quarter of its width, and one linear layer for a head."""
    plan: list[str | int] = [16, "M", 32, "M", 64, 64, "M", 128, 128, "M", 128, 128]
    features: nn.Module = make_layers(plan, batch_norm=True)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, num_classes))


def densenet(num_classes: int) -> nn.Module:
    """A DenseNet of three blocks of four layers that grow by 16 channels; its stem keeps the image's size."""
    network: nn.Module = DenseNet(
        growth_rate=16, block_config=(4, 4, 4), num_init_features=32, bn_size=2, num_classes=num_classes
    )
    features = network.get_submodule("features")
    features.conv0 = nn.Conv2d(3, 32, kernel_size=3, padding=1, bias=False)
    features.pool0 = nn.MaxPool2d(2)
    return network


def mobilenet(num_classes: int) -> nn.Module:
    """torchvision's MobileNetV2."""
    network: nn.Module = mobilenet_v2(num_classes=num_classes)
    return network


def lite0(num_classes: int) -> nn.Module:
    """timm's EfficientNet-Lite0."""
    network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=num_classes)
    return network


def shufflenet(num_classes: int) -> nn.Module:
    """ShuffleNetV2 at half its width; its stem keeps the image's size."""
    network: nn.Module = shufflenet_v2_x0_5(num_classes=num_classes)
    stem = network.get_submodule("conv1")
    assert isinstance(stem, nn.Sequential)
    stem[0] = nn.Conv2d(3, 24, kernel_size=3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


def swin(num_classes: int) -> nn.Module:
    """A Swin transformer of two stages of two blocks, with windows of 4 x 4 patches of 2 x 2 pixels."""
    network: nn.Module = SwinTransformer(
        patch_size=[2, 2],
        embed_dim=48,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=[4, 4],
        stochastic_depth_prob=0.0,
        num_classes=num_classes,
    )
    return network
