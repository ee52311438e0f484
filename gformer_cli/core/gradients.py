"""The gradient-feature extractor: layer-wise gradients of unsupervised losses at the source parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gformer_cli.core.losses import entropy
from gformer_cli.core.parameters import Parameters


@dataclass(frozen=True)
class GradientFeatures:
    """One gradient per generated tensor, each of its shape. (GeneralizeFormer, section 3.)"""

    gammas: tuple[torch.Tensor, ...]
    """Of the softmax entropy, per layer (C_l,)."""
    betas: tuple[torch.Tensor, ...]
    weight: torch.Tensor
    """Of the cross-entropy to the arg-max pseudo-label, (K, D)."""
    bias: torch.Tensor
    """(K,)"""


def gradient_features(logits: torch.Tensor, features: torch.Tensor, leaves: Parameters) -> GradientFeatures:
    """Gradients for logits (B, K) and classifier inputs (B, D) that were computed with `leaves`.

    Normalisation layers: one backward pass of the entropy.
    Classifier: in closed form, because the loss is linear in it up to the softmax:
    dCE/dW = (softmax(z) - onehot(argmax z))^T f / B, so that no second backward pass is needed.
    """
    with torch.no_grad():
        residual = logits.softmax(dim=1)
        residual = residual - torch.zeros_like(residual).scatter_(1, logits.argmax(dim=1, keepdim=True), 1.0)
        residual = residual / len(logits)  # (B, K)
        weight, bias = residual.t() @ features, residual.sum(dim=0)
    gradients = torch.autograd.grad(entropy(logits), [*leaves.gammas, *leaves.betas])
    layers = len(leaves.gammas)
    return GradientFeatures(gradients[:layers], gradients[layers:], weight, bias)
