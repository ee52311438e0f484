"""ATC, average thresholded confidence (Garg et al. 2022, arXiv 2201.04234).

An image counts as right where a score s of its probabilities reaches a threshold t. On labelled source images t is
chosen so that as many fall below it as are wrong (section 4, equations 1 and 2):

    E_source[1(s(f(x)) < t)] = E_source[1(argmax f(x) ≠ y)],    guess = E_target[1(s(f(x)) ≥ t)]

The score is the highest probability, or the negative entropy Σ_k p_k log p_k, as in the paper.

What differs from the authors' code: where theirs takes the score of one image as t, this takes the middle between two,
so that rounding moves no image across it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from gformer_cli.core.estimators.confidence import confidences


def negative_entropies(probabilities: torch.Tensor) -> torch.Tensor:
    """Σ_k p_k log p_k of each image, in nats, at most 0: (B,) for probabilities (B, K)."""
    found: torch.Tensor = torch.special.entr(probabilities).sum(dim=1)
    return -found


SCORES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "confidence": confidences,
    "entropy": negative_entropies,
}

_MARGIN = 1e-6
"""Beyond the lowest score of all, or the highest."""


def right(score: str, threshold: float, probabilities: torch.Tensor) -> torch.Tensor:
    """1 for each image that counts as right by this one of `SCORES`, else 0: (B,) for probabilities (B, K)."""
    return (SCORES[score](probabilities) >= threshold).to(probabilities)


def fit_thresholds(probabilities: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """For each of `SCORES` the threshold of images with probabilities (N, K) and labels (N,).

    Raises `ValueError` without an image.
    """
    if not len(labels):
        raise ValueError("a threshold needs images")
    probabilities = probabilities.double()
    wrong = int((probabilities.argmax(dim=1) != labels).sum())
    confidence, entropy = (_threshold(score(probabilities), wrong) for score in SCORES.values())
    # six digits of how far it is from certainty: on other hardware the last bits of logits differ
    return {"confidence": 1.0 - float(f"{1.0 - confidence:.6g}"), "entropy": float(f"{entropy:.6g}")}


def _threshold(scores: torch.Tensor, wrong: int) -> float:
    """What `wrong` of the scores (N,) lie below, where no two are equal."""
    rising = scores.sort().values.tolist()
    below = rising[wrong - 1] if wrong else rising[0] - 2.0 * _MARGIN
    above = rising[wrong] if wrong < len(rising) else rising[-1] + 2.0 * _MARGIN
    return float((below + above) / 2.0)
