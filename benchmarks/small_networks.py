"""Small networks without BatchNorm for images of 32 pixels, trained from scratch: `--backbone FILE.py:FUNCTION`."""

from __future__ import annotations

from timm.models.convnext import ConvNeXt
from timm.models.vision_transformer import VisionTransformer
from torch import nn


def vit(num_classes: int) -> nn.Module:
    """A ViT of 4 blocks on patches of 4 pixels; it averages its tokens, which learns faster than a class token."""
    network: nn.Module = VisionTransformer(
        img_size=32,
        patch_size=4,
        num_classes=num_classes,
        embed_dim=64,
        depth=4,
        num_heads=2,
        class_token=False,
        global_pool="avg",
    )
    return network


def convnext(num_classes: int) -> nn.Module:
    """A ConvNeXt of 4 stages of 2 blocks; its blocks are not scaled down at first, which is for deep networks."""
    network: nn.Module = ConvNeXt(
        num_classes=num_classes,
        depths=(2, 2, 2, 2),
        dims=(32, 64, 96, 128),
        patch_size=2,
        ls_init_value=None,
    )
    return network
