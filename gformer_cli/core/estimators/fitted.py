"""What estimators go by."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fitted:
    """Of answers of one kind, fitted on labelled source images."""

    confidence: float
    """The highest probability from which on ATC counts an answer as right."""
    entropy: float
    """The negative entropy from which on it does, in nats."""
    dropout: float | None
    """AETTA's dropout rate; None of a network whose answer is not what its head gives."""

    def towards(self, other: Fitted, share: float) -> Fitted:
        """Between these and `other`, of which there is the `share`."""
        return Fitted(
            _between(self.confidence, other.confidence, share),
            _between(self.entropy, other.entropy, share),
            None if self.dropout is None or other.dropout is None else _between(self.dropout, other.dropout, share),
        )


def _between(start: float, end: float, share: float) -> float:
    return start + share * (end - start)
