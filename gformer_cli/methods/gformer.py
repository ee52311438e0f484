"""`gformer`: parameters generated for each batch (GeneralizeFormer, arXiv 2502.12195)."""

from __future__ import annotations

from typing import Any

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.static import StaticModel
from gformer_cli.methods.base import Method, Parts


class Gformer(Method):
    """Probe, generate, predict. No state: a batch's predictions depend on that batch alone.

    Args:
        model: generates the parameters, or holds static ones.
    """

    share: float | None = 1.0

    def __init__(self, backbone: Backbone, model: GeneralizeFormer | StaticModel) -> None:
        super().__init__(backbone)
        self.model = model

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Gformer:
        return cls(parts.backbone, parts.model, **settings)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(self.backbone, images).logits  # type: ignore[no-any-return]
