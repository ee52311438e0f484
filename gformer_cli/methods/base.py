"""The protocol of a method."""

from __future__ import annotations

from typing import Protocol

import torch


class Method(Protocol):
    """A way to predict on a stream of unlabelled target batches. It is built from a bundle."""

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of a preprocessed batch (B, 3, S, S). It may change the method's own state."""

    def reset(self) -> None:
        """Forget every batch seen so far; `evaluate` calls it before each target."""
