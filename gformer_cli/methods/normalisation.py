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
from gformer_cli.networks.norms import AdaptiveNorm


class Normalisation(nn.Module):
    """In the place of a BatchNorm layer, whose γ, β, source statistics and activation it keeps as `layer`."""

    def __init__(self, layer: AdaptiveNorm) -> None:
        super().__init__()
        self.layer = layer
        self.eps = float(layer.eps)  # type: ignore[arg-type]

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        layer = self.layer
        standard = self.normalised(input.flatten(2) if input.dim() > 2 else input[:, :, None])
        output = standard * layer.weight[:, None] + layer.bias[:, None]
        return layer.activated(output.view_as(input))

    def normalised(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, N), N positions, before γ and β."""
        raise NotImplementedError

    def standardised(self, input: torch.Tensor, mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
        """`input` (B, C, N) by statistics (C,), or of each image (B, C)."""
        return (input - mean[..., None]) * (variance[..., None] + self.eps).rsqrt()


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


def moments(input: torch.Tensor, *, correction: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance per channel of (B, C, N): (C,) both. Without Bessel's `correction` where there is one value."""
    variance, mean = torch.var_mean(input, dim=(0, 2), correction=min(correction, input.shape[0] * input.shape[2] - 1))
    return mean, variance


def image_moments(input: torch.Tensor, *, correction: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance per image and channel of (B, C, N): (B, C) both."""
    variance, mean = torch.var_mean(input, dim=2, correction=min(correction, input.shape[2] - 1))
    return mean, variance
