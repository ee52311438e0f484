"""All estimators that can be asked about images that come in batches."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from gformer_cli.core.estimators.aetta import Classified, Dropout, Inferences, expected_error, infer
from gformer_cli.core.estimators.atc import right
from gformer_cli.core.estimators.confidence import confidences
from gformer_cli.core.estimators.fitted import Fitted

CONFIDENCE, ATC_CONFIDENCE, ATC_ENTROPY, AETTA = ESTIMATORS = ("confidence", "atc_confidence", "atc_entropy", "aetta")
"""By name. The last one needs features and a classifier, the others probabilities alone."""


def chances(estimator: str, probabilities: torch.Tensor, fitted: Fitted) -> torch.Tensor:
    """How right each image's answer counts as by one that needs probabilities (B, K) alone: (B,), in [0, 1]."""
    if estimator == CONFIDENCE:
        return confidences(probabilities)
    score = {ATC_CONFIDENCE: "confidence", ATC_ENTROPY: "entropy"}[estimator]
    return right(score, getattr(fitted, score), probabilities)


def inferred(classified: Classified | None, fitted: Fitted | None, dropout: Dropout) -> Inferences | None:
    """What AETTA needs of a batch, where a head made the answer and a rate was fitted."""
    if classified is None or fitted is None or fitted.dropout is None:
        return None
    return infer(classified, dropout, fitted.dropout)


@dataclass
class Guesses:
    """The accuracy of answers to images of one place, as each estimator guesses it. Memory grows with classes alone."""

    images: int = 0
    _sums: dict[str, torch.Tensor] = field(default_factory=dict)
    """Over images, by estimator; one that has missed a batch is out. Of AETTA disagreement and prediction, (1 + K,)."""

    def add(self, probabilities: torch.Tensor, fitted: Fitted | None, inferred: Inferences | None) -> None:
        """Take in a batch: probabilities (B, K) after their temperature, on the CPU.

        Without what was `fitted` there is the confidence alone, without inferences under dropout all but AETTA.
        """
        now = {CONFIDENCE: confidences(probabilities).double().sum()}
        if fitted is not None:
            for name in (ATC_CONFIDENCE, ATC_ENTROPY):
                now[name] = chances(name, probabilities, fitted).double().sum()
        if inferred is not None:
            now[AETTA] = torch.cat([inferred.disagreements[:, None], inferred.means], dim=1).sum(dim=0)
        before = self._sums if self.images else {name: torch.zeros_like(value) for name, value in now.items()}
        self._sums = {name: value + now[name] for name, value in before.items() if name in now}
        self.images += len(probabilities)

    def estimates(self) -> dict[str, float]:
        """In [0, 1] by estimator, of those that could be had for every image; none without an image."""
        means = {name: self._sums[name] / self.images for name in ESTIMATORS if name in self._sums}
        return {
            name: 1.0 - expected_error(float(mean[0]), mean[1:]) if name == AETTA else float(mean)
            for name, mean in means.items()
        }
