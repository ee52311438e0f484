"""`constant`: the constant generator, learned residuals that are the same for every batch."""

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

    share = None

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Constant:
        if parts.constant is None:
            raise ValueError("there is no constant generator")
        return cls(parts.backbone, parts.constant, **settings)
