"""What several methods that learn from their own predictions share: losses, weights, and a correction of the prior."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from gformer_cli.core.losses import entropies

CLIPPED = 0.99
"""Probabilities above are held there, where the likelihood ratio's gradient would grow without bound."""
_EPSILON = 1e-5
"""In the logarithm of a likelihood ratio."""


def soft_likelihood_ratio(logits: torch.Tensor) -> torch.Tensor:
    """-Σ p log(p / (1 - p)) of each image: (B,) for logits (B, K). (ROID, eq. 3.)"""
    p = logits.softmax(dim=1).clamp(max=CLIPPED)
    return -(p * (p / (1.0 - p) + _EPSILON).log()).sum(dim=1)


def symmetric_cross_entropy(logits: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Half the cross-entropy of each of two predictions to the other, per image: (B,) for logits (B, K) twice.

    Gradients flow into both. (Wang et al. 2019, arXiv 1908.06112, with both weights at a half as in RMT.)
    """
    forth = F.cross_entropy(logits, other.softmax(dim=1), reduction="none")
    back = F.cross_entropy(other, logits.softmax(dim=1), reduction="none")
    return 0.5 * (forth + back)


def consistency(logits: torch.Tensor, view: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean of the symmetric cross-entropies to a teacher's prediction of a student's, of images and of a view of them.

    Logits (B, K) all three; per image, (B,). (RMT, section 3.2.)
    """
    return 0.5 * (symmetric_cross_entropy(logits, teacher) + symmetric_cross_entropy(view, teacher))


@torch.no_grad()
def certainty_and_diversity(logits: torch.Tensor, average: torch.Tensor, temperature: float) -> torch.Tensor:
    """Weights (B,) of images with logits (B, K), where the stream's predictions average to (K,). (ROID, section 4.1.)

    Diversity is the cosine distance to the average, certainty the negative entropy, both scaled to [0, 1] within the
    batch. The weight is exp(diversity · certainty / temperature), and 0 where diversity is below its mean. Where all
    images are alike they count alike.
    """
    diversity = _to_unit(1.0 - F.cosine_similarity(logits.softmax(dim=1), average[None], dim=1))
    certainty = _to_unit(-entropies(logits))
    weights = (diversity * certainty / temperature).exp()
    return torch.where(diversity < diversity.mean(), torch.zeros_like(weights), weights)


def _to_unit(values: torch.Tensor) -> torch.Tensor:
    low, high = values.aminmax()
    return (values - low) / (high - low).clamp_min(torch.finfo(values.dtype).tiny)


def prior_corrected(logits: torch.Tensor) -> torch.Tensor:
    """Logits (B, K) times the smoothed mean prediction of their batch. (ROID, section 4.3.)

    The mean p is smoothed to (p + s) / (1 + s K) with s = max(1 / B, 1 / K) / max p. It is the logits that are
    multiplied, as in the authors' code; of a probability it would be the Bayes factor.
    """
    prior = logits.softmax(dim=1).mean(dim=0)  # (K,)
    count, classes = logits.shape
    smooth = max(1 / count, 1 / classes) / prior.max()
    return logits * (prior + smooth) / (1.0 + smooth * classes)
