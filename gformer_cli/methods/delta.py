"""`delta`: renormalised statistics, and rare classes weigh more (Zhao et al. 2023, arXiv 2301.13018)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies
from gformer_cli.methods.base import Method
from gformer_cli.methods.normalisation import Normalisation, affine, moments, renormalised
from gformer_cli.networks.norms import AdaptiveNorm


class Delta(Method):
    """One SGD step a batch on γ and β to lower weighted entropies, under statistics that move slowly.

    - *Test-time batch renormalisation* (section 3.2): see `Renormalising`. Layers other than BatchNorm stay.
    - *Dynamic online re-weighting* (section 3.3): an image of predicted class k weighs 1 / q_k, scaled so that the
      batch's weights average to 1. q moves by 1 - `momentum` to the mean prediction of each batch after its step, and
      starts even.
    - Both are plugged into the entropy minimisation that the paper calls Ent-W: images of entropy H below
      E0 = `entropy_margin` · ln K count, by exp(E0 - H) besides.

    The predictions are those before the step. A batch without images that count changes the statistics and q alone.

    It is the authors' code with its option `ent_w`; without that option all images count, and alike.

    Args:
        learning_rate: of SGD with momentum 0.9, the authors' for ImageNet.
        statistics_momentum: how much of the moving statistics stays at each batch.
        momentum: how much of q stays.
        entropy_margin: E0 in units of ln K.
    """

    tunable: ClassVar = {"learning_rate": (2.5e-4, 1e-3, 5e-3), "statistics_momentum": (0.8, 0.95, 0.99)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        learning_rate: float = 2.5e-4,
        statistics_momentum: float = 0.95,
        momentum: float = 0.95,
        entropy_margin: float = 0.5,
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.statistics_momentum = statistics_momentum
        self.momentum = momentum
        self.max_entropy = entropy_margin * math.log(self.backbone.num_classes)
        self.reset()

    def reset(self) -> None:
        self.adapted, _ = renormalised(self.backbone, lambda layer: Renormalising(layer, self.statistics_momentum))
        trained = [p.requires_grad_(True) for layer in self.adapted.layers for p in (layer.weight, layer.bias)]
        self.optimizer = torch.optim.SGD(trained, lr=self.learning_rate, momentum=0.9)
        classes = self.backbone.num_classes
        self.frequency = trained[0].new_full((classes,), 1.0 / classes)  # q

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.adapted(images)  # (B, K)
        entropy = entropies(logits)  # (B,)
        counts = entropy.detach() < self.max_entropy
        if counts.any():
            weights = self._weights(logits.detach()) * (self.max_entropy - entropy.detach()).exp()
            self.optimizer.zero_grad(set_to_none=True)
            (weights * entropy)[counts].mean().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        mean = logits.detach().softmax(dim=1).mean(dim=0)
        self.frequency = torch.lerp(mean, self.frequency, self.momentum)
        return logits.detach()  # type: ignore[no-any-return]

    def _weights(self, logits: torch.Tensor) -> torch.Tensor:
        """(B,), 1 on average."""
        rarity = 1.0 / self.frequency[logits.argmax(dim=1)]
        return rarity / rarity.mean()


class Renormalising(Normalisation):
    """Normalises by moving statistics, with the gradient of normalising by the batch's own.

    (x - μ_B) / σ_B · r + d with r = σ_B / σ and d = (μ_B - μ) / σ held constant. The moving μ and σ start as the first
    batch's, and move after each batch is normalised. Standard deviations are moved, not variances.
    """

    def __init__(self, layer: AdaptiveNorm, momentum: float) -> None:
        super().__init__(layer)
        self.momentum = momentum
        self.moving: tuple[torch.Tensor, torch.Tensor] | None = None  # mean and standard deviation, (C,) both

    def normalised(self, input: torch.Tensor) -> torch.Tensor:
        mean, variance = moments(input)
        seen = mean.detach(), (variance.detach() + self.eps).sqrt()
        old_mean, old_deviation = seen if self.moving is None else self.moving
        scale, shift = seen[1] / old_deviation, (seen[0] - old_mean) / old_deviation
        self.moving = (
            torch.lerp(seen[0], old_mean, self.momentum),
            torch.lerp(seen[1], old_deviation, self.momentum),
        )
        scale = scale * (variance + self.eps).rsqrt()  # both steps at once
        return affine(input, scale, shift - mean * scale)
