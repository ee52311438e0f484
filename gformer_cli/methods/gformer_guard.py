"""`gformer-guard`: `gformer` under a calibrated guard."""

from __future__ import annotations

from typing import Any

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.static import StaticModel
from gformer_cli.guard.prediction import predict_both
from gformer_cli.guard.rule import Guard
from gformer_cli.methods.base import Method, Parts


class GformerGuard(Method):
    """Generated parameters where the guard trusts them, else blended ones or the source model: as `gformer adapt` does.

    No state.

    Args:
        model: generates the parameters.
        guard: decides how far they are trusted.
    """

    def __init__(self, backbone: Backbone, model: GeneralizeFormer | StaticModel, guard: Guard) -> None:
        super().__init__(backbone)
        self.model = model
        self.guard = guard

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> GformerGuard:
        if parts.guard is None:
            raise ValueError("there is no guard")
        return cls(parts.backbone, parts.model, parts.guard, **settings)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        both = predict_both(self.backbone, self.model, images)
        verdict = self.guard.decide(both.signals)
        self.share = verdict.share
        logits, _ = both.under(verdict)
        return logits
