"""What estimators go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar


@dataclass(frozen=True)
class Fitted:
    """Of answers of one kind, fitted on labelled source images."""

    confidence: float
    """The highest probability from which on ATC counts an answer as right."""
    entropy: float
    """The negative entropy from which on it does, in nats."""
    dropout: float | None
    """AETTA's dropout rate; None of a network whose answer is not what its head gives."""
    missed: float | None = None
    """How far AETTA was off on batches of these images: `aetta.missed`."""

    def towards(self, other: Fitted, share: float) -> Fitted:
        """Between these and `other`, of which there is the `share`."""
        return Fitted(
            _between(self.confidence, other.confidence, share),
            _between(self.entropy, other.entropy, share),
            _between(self.dropout, other.dropout, share),
            _between(self.missed, other.missed, share),
        )


_Known = TypeVar("_Known", float, float | None)


def _between(start: _Known, end: _Known, share: float) -> _Known:
    return None if start is None or end is None else start + share * (end - start)
