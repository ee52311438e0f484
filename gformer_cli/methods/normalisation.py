"""A copy of the source network whose BatchNorm layers normalise in another way.

For methods whose statistics are not one mean and one variance a batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.networks.norms import AdaptiveNorm, batch_statistics, scale_and_shift


class Normalisation(nn.Module):
    """In the place of a BatchNorm layer, whose γ, β, source statistics and activation it keeps as `layer`."""

    def __init__(self, layer: AdaptiveNorm) -> None:
        super().__init__()
        self.layer = layer
        self.eps = float(layer.eps)  # type: ignore[arg-type]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        standard = self.normalised(input.flatten(2) if input.dim() > 2 else input[:, :, None])
        return layer.activated(scale_and_shift(standard.view_as(input), layer.weight, layer.bias))

    def normalised(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, N), N positions, before γ and β."""
        raise NotImplementedError

    def standardised(self, input: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        """`input` (B, C, N) by statistics (C,), or of each image (B, C)."""
        scale = (variance + self.eps).rsqrt()
        if mean.dim() == 1:
            return affine(input, scale, -mean * scale)
        return torch.addcmul((-mean * scale)[..., None], input, scale[..., None])


Kind = TypeVar("Kind", bound=Normalisation)


def renormalised(backbone: Backbone, make: Callable[[AdaptiveNorm], Kind]) -> tuple[Backbone, list[Kind]]:
    """A copy of `backbone` with `make(layer)` for each BatchNorm layer, and what was made, in the layers' order.

    Its `layers` still hold γ and β. It is run without parameters: its BatchNorms ask no pass.
    """
    copied = copy.deepcopy(backbone)
    made = {layer: make(layer) for layer in copied.layers if layer.of_batch}
    for parent in list(copied.network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, AdaptiveNorm) and child in made and parent is not made[child]:
                setattr(parent, name, made[child])
    return copied, list(made.values())


def affine(input: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """`input` (B, C, N) * scale (C,) + shift (C,)."""
    # four axes: of three the library knows no memory format, and copies where channels come last
    return scale_and_shift(input[..., None], scale, shift)[..., 0]


def moments(input: torch.Tensor, *, correction: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance per channel of (B, C, N): (C,) both. Without Bessel's `correction` where there is one value."""
    mean, variance = batch_statistics(input)
    return mean, _corrected(variance, input.shape[0] * input.shape[2], correction)


def image_moments(input: torch.Tensor, *, correction: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance per image and channel of (B, C, N): (B, C) both."""
    mean = input.mean(dim=2)
    # `torch.var_mean` takes ten times as long on a CPU
    second = input.square().mean(dim=2)
    return mean, _corrected((second - mean.square()).clamp_min(0.0), input.shape[2], correction)


def _corrected(variance: torch.Tensor, count: int, correction: int) -> torch.Tensor:
    """The biased `variance` of `count` values with Bessel's correction, unless there is one value."""
    return variance * (count / (count - min(correction, count - 1)))
