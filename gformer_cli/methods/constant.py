"""`constant`: the control of `gformer`, a learned residual that looks at nothing."""

from __future__ import annotations

from typing import Any

from gformer_cli.methods.base import Parts
from gformer_cli.methods.gformer import Gformer


class Constant(Gformer):
    """Source parameters plus residuals that were meta-trained as the generator was, the same for every batch.

    What `gformer` gains beyond it is what generating from the batch is worth.

    Args:
        model: holds the residuals.
    """

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Constant:
        if parts.control is None:
            raise ValueError("there is no control")
        return cls(parts.backbone, parts.control, **settings)
