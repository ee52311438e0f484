"""`tent-episodic`: Tent that starts from the source for every batch (arXiv 2006.10726; in MEMO, arXiv 2110.09506)."""

from __future__ import annotations

from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.tent import Tent


class EpisodicTent(Tent):
    """Tent's steps on one batch from the source parameters, then a fresh forward pass of that batch.

    The predictions are those after the last step: before the first one they would be `bn`'s. No state: a batch's
    predictions depend on that batch alone. (The authors' episodic option returns the logits before the last step.)

    Args:
        learning_rate: of Adam, as in `Tent`.
        steps: Adam steps on each batch.
    """

    tunable: ClassVar = {"learning_rate": (1e-4, 1e-3, 5e-3), "steps": (1, 3)}

    def __init__(self, backbone: Backbone, *, learning_rate: float = 1e-3, steps: int = 1) -> None:
        super().__init__(backbone, learning_rate=learning_rate)
        self.steps = steps

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        self.reset()
        for _ in range(self.steps):
            super().predict(images)
        return self.backbone(images, self.parameters)  # type: ignore[no-any-return]
