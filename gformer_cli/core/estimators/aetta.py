"""AETTA: how often predictions change under dropout (Lee et al. 2024, arXiv 2404.01351).

Where dropout inferences ŷ^(1) … ŷ^(N) are independent and as sure as they are right, they disagree with the prediction
ŷ as often as ŷ is wrong (section 3.1). An adapted model that fails is sure of a few classes, and disagrees too little.
Then the entropy of the mean prediction p̄ of the images is low, and the disagreement is weighed by it (section 3.2):

    err = (H(p̄) / log K)^(-α) · 1/(B N) Σ_i Σ_n 1(ŷ_i^(n) ≠ ŷ_i),    p̄ = 1/(B N) Σ_i Σ_n p_i^(n)

within [0, 1 - 1/K]: no model is worse than chance. The guess is 1 - err. α = 3 and N = 10 are the authors'.

What differs from the authors' code:

- Theirs drops activations after each of four stages of a residual network. Networks here have no dropout in them, and
  come in every shape: it acts in one place, on the features before the classifier. Of what comes before, the
  disagreement knows nothing. No further pass of the network is needed.
- Their rate is 0.4, 0.3 or 0.2, by data set. How many answers a rate changes depends on the number of features and on
  how much they repeat each other. Here it is the rate at which, on held-out source images, err is the true error.
- Their p̄ and err are those of a batch of 64, and err is smoothed over batches. Here all images of a place are one
  batch: in small ones, and where classes come in waves, few classes are predicted though nothing has failed.
- p̄ has no 1e-6 added in its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

PASSES = 10
"""N, dropout inferences."""
ALPHA = 3.0
"""How far a low entropy of the mean prediction raises the error."""
RATES: tuple[float, ...] = tuple(ratio / (1.0 + ratio) for ratio in (2.0 ** (step / 2.0) for step in range(-4, 15)))
"""Rates that are tried, 0.2 to 0.99: each makes the noise in features √2 times as strong, in variance, as the last."""
_PASSES_TO_FIT = 4
"""Of each batch, while a rate is looked for: there are many batches."""


@dataclass(frozen=True)
class Classified:
    """The last layer's part in the answer to B images: D features, K classes."""

    features: torch.Tensor
    """(B, D)"""
    weight: torch.Tensor
    """(K, D)"""
    bias: torch.Tensor
    """(K,)"""


class Dropout:
    """Which features dropout keeps of the images of one batch, alike for all that ask about it.

    Args:
        seed: draws them, on the CPU.
        passes: N.
    """

    def __init__(self, seed: int, passes: int = PASSES) -> None:
        self.passes = passes
        self._seed = seed
        self._drawn: dict[tuple[int, ...], torch.Tensor] = {}

    def kept(self, shape: tuple[int, ...], rate: float) -> torch.Tensor:
        """What features of this shape (B, D) are multiplied by, (N, B, D): 0, or 1 / (1 - rate)."""
        if shape not in self._drawn:
            random = torch.Generator().manual_seed(self._seed)
            self._drawn[shape] = torch.rand(self.passes, *shape, generator=random)
        return (self._drawn[shape] >= rate) / (1.0 - rate)


@dataclass(frozen=True)
class Inferences:
    """What dropout says of B images. Float64, on the CPU."""

    disagreements: torch.Tensor
    """The share of inferences that contradict the answer, (B,)."""
    means: torch.Tensor
    """Their mean prediction of each image, (B, K)."""

    def of(self, rows: list[int]) -> Inferences:
        """Those of some of the images."""
        return Inferences(self.disagreements[rows], self.means[rows])


@torch.no_grad()
def infer(found: Classified, dropout: Dropout, rate: float) -> Inferences:
    """What N inferences under dropout say of B images."""
    weight, bias = found.weight, found.bias
    features = found.features.to(weight.dtype)  # under autocast a network hands on fewer bits
    answer = F.linear(features, weight, bias).argmax(dim=1)
    kept = dropout.kept(tuple(features.shape), rate).to(features)
    contradicted = torch.zeros(len(features), dtype=torch.float64, device=features.device)
    means = contradicted.new_zeros(len(features), len(weight))
    for one in kept:
        logits = F.linear(features * one, weight, bias)
        contradicted += logits.argmax(dim=1) != answer
        means += logits.double().softmax(dim=1)
    return Inferences(contradicted.cpu() / len(kept), means.cpu() / len(kept))


def expected_error(disagreement: float, mean: torch.Tensor) -> float:
    """err of images by their mean disagreement and their mean prediction, (K,)."""
    classes = len(mean)
    entropy = float(torch.special.entr(mean).sum())
    # without an entropy, as of one class, nothing is contradicted; numbers that are none give no weight either
    weight = (math.log(classes) / entropy) ** ALPHA if entropy > 0.0 else 1.0
    return min(weight * disagreement, 1.0 - 1.0 / classes)


def errors_by_rate(found: Classified, seed: int) -> list[float]:
    """The expected error of a batch at each of `RATES`."""
    dropout = Dropout(seed, _PASSES_TO_FIT)
    inferred = [infer(found, dropout, rate) for rate in RATES]
    return [expected_error(float(one.disagreements.mean()), one.means.mean(dim=0)) for one in inferred]


def fit_rate(expected: Sequence[Sequence[float]], images: Sequence[int], error: float) -> float:
    """The dropout rate at which the expected error of batches is their true one.

    `expected` are the batches' `errors_by_rate`, `images` how many each holds, `error` is that of all. Between `RATES`
    it is interpolated, beyond them it is the outermost. Raises `ValueError` without an image.
    """
    if not sum(images):
        raise ValueError("a rate needs images")
    totals = (torch.tensor(expected).double() * torch.tensor(images).double()[:, None]).sum(dim=0) / sum(images)
    means: list[float] = totals.tolist()
    above = next((place for place, mean in enumerate(means) if mean >= error), len(means) - 1)
    if above == 0 or means[above] <= error:
        return round(RATES[above], 3)
    share = (error - means[above - 1]) / (means[above] - means[above - 1])
    return round(RATES[above - 1] + share * (RATES[above] - RATES[above - 1]), 3)


def error_at(expected: Sequence[float], rate: float) -> float:
    """The error of a batch at `rate`, between its `errors_by_rate`."""
    return float(np.interp(rate, RATES, expected))
