"""Mean confidence: a model whose probabilities mean what they say is right as often as it is sure.

It is called average confidence where estimators are compared (Garg et al. 2022, arXiv 2201.04234, section 5; Hendrycks
and Gimpel 2017, arXiv 1610.02136, for the score).
"""

from __future__ import annotations

import torch


def confidences(probabilities: torch.Tensor) -> torch.Tensor:
    """max_k p_k of each image: (B,) for probabilities (B, K)."""
    return probabilities.amax(dim=1)
