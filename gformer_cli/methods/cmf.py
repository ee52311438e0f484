"""`cmf`: ROID's losses, and weights that follow a filter between source and target (Lee and Chang, ICLR 2024).

The paper is "Continual Momentum Filtering on Parameter Space for Online Test-time Adaptation".
"""

from __future__ import annotations

from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.affine import affine
from gformer_cli.methods.augmentations import Augmentation
from gformer_cli.methods.roid import Roid

SMALLEST_SHARE = 0.89
"""Least weight of the hidden model against the adapted one, as in the authors' code; above 0.9999 it counts as 1."""
COUNTED = 38_400
"""Trainable parameters of the network that the authors give q for."""


class Cmf(Roid):
    """`Roid`, where a hidden model h takes the source's place; a Kalman filter moves it, one variance for all weights.

    After each step on θ (section 3, with the authors' order "lp"):

    1. Predict: h ← α h + (1 - α) θ_source, and the variance v ← α² v + q.
    2. Update: with β = (1 - q) / (v + 1 - q), at least 0.89, h ← β h + (1 - β) θ, and v ← β v.
    3. Ensemble: θ ← γ θ + (1 - γ) h.

    q counts per trainable parameter: `noise` times their number over 38 400.

    What differs from the authors' code: `reset` forgets the variance as well. And all that differs in `Roid`.

    Args:
        augment: draws the views, as in `Roid`.
        learning_rate: of Adam, as in `Roid`.
        alpha: α, how much of the hidden model stays.
        gamma: γ, how much of the adapted one stays.
        noise: q for a network of 38 400 trainable parameters.
        renewed: share of the latest batch in the stream's mean prediction.
        temperature: of the weights.
        seed: of the views.
    """

    tunable: ClassVar = {"learning_rate": (2.5e-4, 1e-3, 5e-3), "noise": (5e-4, 5e-3, 5e-2)}

    def __init__(
        self,
        backbone: Backbone,
        augment: Augmentation,
        *,
        learning_rate: float = 1e-3,
        alpha: float = 0.99,
        gamma: float = 0.99,
        noise: float = 0.005,
        renewed: float = 0.1,
        temperature: float = 1 / 3,
        seed: int = 0,
    ) -> None:
        self.alpha = alpha
        self.gamma = gamma
        trained = sum(tensor.numel() for tensor in affine(backbone.source_parameters()))
        self.q = noise * trained / COUNTED
        super().__init__(
            backbone, augment, learning_rate=learning_rate, renewed=renewed, temperature=temperature, seed=seed
        )

    def reset(self) -> None:
        super().reset()
        self.hidden = [tensor.detach().clone() for tensor in affine(self.parameters)]
        self.variance = 0.0

    @torch.no_grad()
    def _hold(self) -> None:
        self.variance = self.alpha**2 * self.variance + self.q
        share = max(SMALLEST_SHARE, (1.0 - self.q) / (self.variance + 1.0 - self.q))
        share = share if share < 0.9999 else 1.0
        self.variance *= share
        source = affine(self.backbone.source_parameters())
        for tensor, hidden, start in zip(affine(self.parameters), self.hidden, source, strict=True):
            hidden.lerp_(start, 1.0 - self.alpha)
            hidden.lerp_(tensor, 1.0 - share)
            tensor.lerp_(hidden, 1.0 - self.gamma)
