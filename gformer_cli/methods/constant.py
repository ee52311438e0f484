"""`constant`: the control of `gformer`, a learned residual that looks at nothing."""

from __future__ import annotations

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.methods.base import Method


class Constant(Method):
    """Source parameters plus residuals that were meta-trained as the generator was, the same for every batch.

    What `gformer` gains beyond it is what generating from the batch is worth. Raises `ValueError` for a bundle that
    holds none.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        if bundle.control is None:
            raise ValueError("the bundle holds no control")
        self.method = bundle.control

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.method(self.backbone, images).logits  # type: ignore[no-any-return]
