"""`tent`: entropy minimisation over the stream (Wang et al. 2021, arXiv 2006.10726)."""

from __future__ import annotations

from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropy
from gformer_cli.methods.affine import affine, trainable_affine
from gformer_cli.methods.base import Method


class Tent(Method):
    """Batch statistics; one Adam step a batch on γ and β to lower the entropy of the batch's predictions.

    The predictions are those before the step, as in the authors' code. γ, β and Adam's moments persist from
    batch to batch until `reset`.

    Args:
        learning_rate: of Adam with betas 0.9 and 0.999; the paper's outside ImageNet (section 4).
    """

    tunable: ClassVar = {"learning_rate": (1e-4, 1e-3, 5e-3)}

    def __init__(self, backbone: Backbone, *, learning_rate: float = 1e-3) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.reset()

    def reset(self) -> None:
        self.parameters = trainable_affine(self.backbone)
        self.optimizer = torch.optim.Adam(affine(self.parameters), lr=self.learning_rate)

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.backbone(images, self.parameters)
        self.optimizer.zero_grad(set_to_none=True)
        entropy(logits).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return logits.detach()  # type: ignore[no-any-return]
