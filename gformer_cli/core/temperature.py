"""What logits are divided by so that confidences mean what they say (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

BOUNDS = (0.2, 20.0)
"""Few images, or all of them right, must not make a model surer, or less sure, without end."""
_ROUNDS = 40
_GOLDEN = (5.0**0.5 - 1.0) / 2.0


@dataclass(frozen=True)
class Temperatures:
    """One for the source model's answers and one for adapted ones. 1 leaves probabilities as they are."""

    source: float = 1.0
    adapted: float = 1.0

    def of(self, share: float) -> float:
        """That of answers under parameters of which the `share` was generated: 0 the source's, 1 all of it."""
        return float(self.source ** (1.0 - share) * self.adapted**share)


def fit_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature, within `BOUNDS`, at which logits (N, K) have the least cross-entropy to labels (N,).

    To three digits: on other hardware the last bits of logits differ. Raises `ValueError` without an image.
    """
    if not len(labels):
        raise ValueError("a temperature needs images")
    logits = logits.detach().cpu().double()
    low, high = (1.0 / bound for bound in reversed(BOUNDS))

    def loss(inverse: float) -> float:
        return float(F.cross_entropy(logits * inverse, labels.cpu()))

    for _ in range(_ROUNDS):  # convex in the inverse: golden-section search
        width = _GOLDEN * (high - low)
        if loss(high - width) < loss(low + width):
            high = low + width
        else:
            low = high - width
    return float(f"{2.0 / (low + high):.3g}")
