"""`bn`: batch statistics instead of the source's (Nado et al. 2020, arXiv 2006.10963)."""

from __future__ import annotations

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.parameters import Parameters
from gformer_cli.methods.base import Method


class BatchStatistics(Method):
    """One forward pass in which every BatchNorm layer uses the mean and variance of the batch at hand."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.parameters = batch_statistics_only(backbone)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(images, self.parameters)  # type: ignore[no-any-return]


def batch_statistics_only(backbone: Backbone) -> Parameters:
    """The source parameters under the batch's statistics alone."""
    source = backbone.source_parameters()
    return source.with_mix(torch.ones(len(source.gammas), device=source.weight.device, dtype=source.weight.dtype))
