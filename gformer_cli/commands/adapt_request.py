"""The options of `gformer adapt` that hold for folders and for folders that fill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gformer_cli.commands.trust import Trust


@dataclass(frozen=True)
class Request:
    """Of one command line."""

    model: Path
    backbone: str | None
    white_level: float | None
    out: Path
    batch_size: int
    trust: Trust
    probabilities: bool
    strict: bool
    device: str
    precision: str
    workers: int | None
    threads: int | None
