"""What `gformer adapt` and `gformer watch` share: how to predict, and the bundle that does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gformer_cli.commands.options import pick_cores
from gformer_cli.compute.threads import Cores
from gformer_cli.console import Terminal

if TYPE_CHECKING:
    import torch

    from gformer_cli.bundle import Bundle


class Loaded(NamedTuple):
    """What predicts."""

    bundle: Bundle
    device: torch.device
    workers: int
    cores: Cores


@dataclass(frozen=True)
class Prediction:
    """These options of one command line."""

    model: Path
    backbone: str | None
    white_level: float | None
    device: str
    precision: str
    workers: int | None
    threads: int | None

    def load(self, terminal: Terminal) -> Loaded:
        """Raises `InputError` for what is not there or does not fit."""
        from gformer_cli.bundle import load_bundle
        from gformer_cli.compute.device import pick_device, pick_workers

        device, workers = pick_device(self.device), pick_workers(self.workers)
        cores = pick_cores(terminal, self.threads)
        bundle = load_bundle(self.model, own_backbone=self.backbone, white_level=self.white_level)
        return Loaded(bundle, device, workers, cores)

    def settings(self, **own: object) -> dict[str, Any]:
        """The choices that decide predictions: those of the command, and these."""
        level = {} if self.white_level is None else {"white_level": self.white_level}
        return {**own, "precision": self.precision, **level}
