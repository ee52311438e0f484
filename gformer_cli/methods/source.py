"""`source`: the source model as it is."""

from __future__ import annotations

import torch

from gformer_cli.methods.base import Method


class Source(Method):
    """One plain forward pass with source statistics: what every other method is compared with."""

    share = 0.0

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(images)  # type: ignore[no-any-return]
