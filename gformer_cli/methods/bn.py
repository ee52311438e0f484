"""`bn`: batch statistics instead of the source's (Nado et al. 2020, arXiv 2006.10963)."""

from __future__ import annotations

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.base import Method


class BatchStatistics(Method):
    """One forward pass in which every BatchNorm layer uses the mean and variance of the batch at hand.

    A network without BatchNorm stays the source model.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.parameters = backbone.mixing_batchnorm(1.0)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(images, self.parameters)  # type: ignore[no-any-return]
