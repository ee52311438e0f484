"""The guard: how far the parameters generated for a batch are trusted."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Verdict:
    """What was decided about one batch, and why."""

    decision: str = "generated"
    """`generated`, `blended` or `source`: which parameters predict."""
    share: float = 1.0
    """a in θ_s + a (θ_t − θ_s): 1 for `generated`, 0 for `source`."""
    signals: dict[str, float] = field(default_factory=dict)
    """Every figure that was looked at, by name. None needs labels."""
    reasons: tuple[str, ...] = ()
    """Names of the signals that lie outside of what calibration has seen."""
