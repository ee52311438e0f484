"""Whether torchrun has started this process, and as which of how many. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

SHARED = ("pretrain", "meta-train", "evaluate", "adapt")
"""Commands whose work several processes share. Of any other, each process would do the whole."""


@dataclass(frozen=True)
class Seat:
    """One process among those that work together."""

    rank: int = 0
    """Its number, from 0, among all of them."""
    size: int = 1
    """How many there are, on all machines."""
    local: int = 0
    """Its number, from 0, among those of its machine."""


def seat(environment: Mapping[str, str] = os.environ) -> Seat:
    """What torchrun says of this process; without torchrun it is the only one."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return Seat()
    return Seat(*(int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")))
