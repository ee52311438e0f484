"""How predictions are served. No torch here: these are the first things that the command looks at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServeOptions:
    """How requests become batches, and what is refused."""

    batch_size: int = 32
    """Images that are predicted together, at most."""
    max_wait: float = 0.05
    """Seconds after which a smaller batch is predicted."""
    queue: int = 1024
    """Images that may wait or be in work; more are refused for the moment."""
    max_request: int = 32 << 20
    """Bytes of the largest request."""
    context: int = 0
    """Pool the statistics of so many batches of the same target."""
