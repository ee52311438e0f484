"""What estimators go by, and how far they are off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fitted:
    """Of answers of one kind, fitted on labelled source images."""

    confidence: float
    """The highest probability from which on ATC counts an answer as right."""
    entropy: float
    """The negative entropy from which on it does, in nats."""
    dropout: float | None
    """AETTA's dropout rate; None of a network whose answer is not what its head gives."""
    missed: Mapping[str, float] = field(default_factory=dict)
    """By estimator, how far it was off on batches of these images: `missed`. None where nothing was measured."""

    def towards(self, other: Fitted, share: float) -> Fitted:
        """Between these and `other`, of which there is the `share`."""
        known = self.dropout is not None and other.dropout is not None
        return Fitted(
            _between(self.confidence, other.confidence, share),
            _between(self.entropy, other.entropy, share),
            _between(self.dropout or 0.0, other.dropout or 0.0, share) if known else None,
            {
                name: _between(self.missed[name], other.missed[name], share)
                for name in self.missed
                if name in other.missed
            },
        )


def _between(start: float, end: float, share: float) -> float:
    return start + share * (end - start)


def missed(guesses: Sequence[float], images: Sequence[int], right: Sequence[int]) -> float:
    """How far guesses are from the accuracy of batches: root mean square, beyond what chance does.

    `right` is how many of the `images` of each batch are. A batch of B images of a place where the share a of answers
    is right differs from it by a variance of a (1 - a) / B, which is no fault of the estimator.
    """
    squares = chance = 0.0
    for guess, count, number in zip(guesses, images, right, strict=True):
        share = number / count
        squares += (guess - share) ** 2
        chance += share * (1.0 - share) / count
    return round(math.sqrt(max(squares - chance, 0.0) / len(guesses)), 4)
