"""`bn-mix`: source statistics as a prior on the batch's (Schneider et al. 2020, arXiv 2006.16971, eq. 3)."""

from __future__ import annotations

from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.probe import prior_mix
from gformer_cli.methods.base import Method


class MixedStatistics(Method):
    """One forward pass in which a batch of n images weighs n / (n + N) against the source statistics.

    No state, no gradient: it lies between `source` (N to infinity) and `bn` (N = 0), and trusts small batches less.

    Args:
        prior_count: N, how many images the source statistics count for; as many as in the probe
            before generation; in the paper the best N depends on the batch size.
    """

    tunable: ClassVar = {"prior_count": (1, 4, 16, 64, 256)}

    def __init__(self, backbone: Backbone, *, prior_count: float = 16) -> None:
        super().__init__(backbone)
        self.prior_count = prior_count

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        source = self.backbone.source_parameters()
        mix = prior_mix(source, len(images), self.prior_count)  # (L,)
        return self.backbone(images, source.with_mix(mix))  # type: ignore[no-any-return]
