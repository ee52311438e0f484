"""`gformer-context`: `gformer` that reads the last batches of the stream beside the present one."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.static import StaticModel
from gformer_cli.methods.base import Method, Parts


class GformerContext(Method):
    """Parameters generated for each batch from what it and the last batches showed, as `gformer adapt` does of a
    folder that is watched with a context. Only what the network saw is kept, never parameters.

    The batches are forgotten by `reset`, and where one comes that looks like another domain.

    Args:
        model: generates the parameters.
        batches: how many batches before the present one are remembered, at least 1.
    """

    share = 1.0
    tunable: ClassVar = {"batches": (4, 16, 64)}

    def __init__(self, backbone: Backbone, model: GeneralizeFormer | StaticModel, *, batches: int = 64) -> None:
        super().__init__(backbone)
        self.model = model
        self.batches = batches
        self.reset()

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> GformerContext:
        return cls(parts.backbone, parts.model, **settings)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(self.backbone, images, self.context).logits  # type: ignore[no-any-return]

    def reset(self) -> None:
        self.context = Context(self.batches)
