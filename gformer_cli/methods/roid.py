"""`roid`: weighted self-training, held near the source by averaging weights (Marsden et al. 2024, arXiv 2306.00650)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.affine import affine, trainable_affine
from gformer_cli.methods.augmentations import Augmentation, jitter_views
from gformer_cli.methods.base import Method, Parts
from gformer_cli.methods.self_training import (
    certainty_and_diversity,
    prior_corrected,
    soft_likelihood_ratio,
    symmetric_cross_entropy,
)


class Roid(Method):
    """Batch statistics; one Adam step a batch on γ and β, then a hundredth of the way back to the source.

    Per batch (section 4):

    1. Images are weighed by `certainty_and_diversity`: those that resemble the stream's mean prediction are left out.
    2. The loss is the weighted sum, over the number of images, of the soft likelihood ratio of the predictions and of
       the symmetric cross-entropy between them and those of an augmented view of the images that count.
    3. After the step θ ← m θ + (1 - m) θ_source.
    4. The prediction is that before the step, with `prior_corrected`.

    What differs from the authors' code: the sum is divided by the images of the batch, not by those of a full one; a
    batch whose images are all alike, such as a batch of one, weighs them alike (there it is 0 / 0, and single images
    wait in a buffer); the view has no random gamma, and mirrors only where the source model was trained on mirrored
    images (see `jitter_views`).

    Args:
        augment: draws the views, such as `jitter_views` without blur.
        learning_rate: of Adam with betas 0.9 and 0.999, the authors' for CIFAR. For ImageNet they take SGD with 2.5e-4.
        momentum: m.
        renewed: share of the latest batch in the stream's mean prediction.
        temperature: of the weights.
        seed: of the views.
    """

    tunable: ClassVar = {"learning_rate": (2.5e-4, 1e-3, 5e-3), "momentum": (0.95, 0.99, 0.999)}

    def __init__(
        self,
        backbone: Backbone,
        augment: Augmentation,
        *,
        learning_rate: float = 1e-3,
        momentum: float = 0.99,
        renewed: float = 0.1,
        temperature: float = 1 / 3,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.renewed = renewed
        self.temperature = temperature
        self.seed = seed
        self.augment = augment
        self.reset()

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Roid:
        return cls(parts.backbone, jitter_views(parts.preprocessing, mirrored=parts.mirrored, blur=False), **settings)

    def reset(self) -> None:
        self.parameters = trainable_affine(self.backbone)
        self.optimizer = torch.optim.Adam(affine(self.parameters), lr=self.learning_rate)
        classes = self.backbone.num_classes
        self.average = self.parameters.weight.new_full((classes,), 1.0 / classes)  # of the predictions
        self.generator = torch.Generator().manual_seed(self.seed)

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.backbone(images, self.parameters)  # (B, K)
        self.optimizer.zero_grad(set_to_none=True)
        self._loss(images, logits).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self._hold()
        return prior_corrected(logits.detach())

    def _loss(self, images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        weights = certainty_and_diversity(logits.detach(), self.average, self.temperature)  # (B,)
        self.average = torch.lerp(self.average, logits.detach().softmax(dim=1).mean(dim=0), self.renewed)
        kept = weights > 0
        view = self.backbone(self.augment(images[kept], self.generator), self.parameters)
        losses = soft_likelihood_ratio(logits[kept]) + symmetric_cross_entropy(view, logits[kept])
        return (weights[kept] * losses).sum() / len(images)

    @torch.no_grad()
    def _hold(self) -> None:
        """What happens to γ and β after a step."""
        for tensor, source in zip(affine(self.parameters), affine(self.backbone.source_parameters()), strict=True):
            tensor.lerp_(source, 1.0 - self.momentum)
