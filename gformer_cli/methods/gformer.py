"""`gformer`: parameters generated for each batch (GeneralizeFormer, arXiv 2502.12195)."""

from __future__ import annotations

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.methods.base import Method


class Gformer(Method):
    """Probe, generate, predict. No state: a batch's predictions depend on that batch alone."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.method = bundle.method

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.method(self.backbone, images).logits  # type: ignore[no-any-return]
