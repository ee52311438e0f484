"""What the methods that train γ and β share: a copy of them to train."""

from __future__ import annotations

from dataclasses import replace

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.parameters import Parameters


def trainable_affine(backbone: Backbone) -> Parameters:
    """The source parameters with γ and β cloned into leaves that record gradients; BatchNorm under batch statistics."""
    start = backbone.mixing_batchnorm(1.0)
    return replace(
        start,
        gammas=tuple(gamma.detach().clone().requires_grad_(True) for gamma in start.gammas),
        betas=tuple(beta.detach().clone().requires_grad_(True) for beta in start.betas),
    )


def affine(parameters: Parameters) -> list[torch.Tensor]:
    """γ of every layer, then β of every layer: 2L tensors, (C_l,) each."""
    return [*parameters.gammas, *parameters.betas]


def early_layers(backbone: Backbone) -> int:
    """How many normalisation layers there are but for the last quarter, which some methods leave as they are."""
    layers = len(backbone.layer_names)
    return layers - layers // 4


def early_affine(parameters: Parameters, layers: int) -> list[torch.Tensor]:
    """γ, then β, of the first `layers` layers: (C_l,) each."""
    return [*parameters.gammas[:layers], *parameters.betas[:layers]]
