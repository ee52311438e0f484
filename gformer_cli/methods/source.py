"""`source`: the source model as it is."""

from __future__ import annotations

import torch

from gformer_cli.bundle import Bundle


class Source:
    """One plain forward pass with source statistics: what every other method is compared with."""

    def __init__(self, bundle: Bundle) -> None:
        self.backbone = bundle.backbone

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(images)  # type: ignore[no-any-return]

    def reset(self) -> None:
        """Nothing to forget."""
