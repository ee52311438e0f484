"""`gformer-guard`: `gformer` under the bundle's guard."""

from __future__ import annotations

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.guard.rule import guarded
from gformer_cli.guard.signals import batch_signals
from gformer_cli.methods.base import Method


class GformerGuard(Method):
    """Generated parameters where the guard trusts them, else blended ones or the source model: as `gformer adapt` does.

    No state. Raises `ValueError` for a bundle without a calibrated guard.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        if bundle.guard is None:
            raise ValueError("the bundle holds no guard")
        self.guard = bundle.guard
        self.method = bundle.method

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        source = self.backbone(images)
        prediction = self.method(self.backbone, images)
        verdict = self.guard.decide(batch_signals(images, source, prediction))
        logits, _ = guarded(self.backbone, images, source, prediction, verdict)
        return logits
