"""What `gformer adapt` and `gformer watch` share: how to predict, and the bundle that does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gformer_cli.commands.options import pick_cores
from gformer_cli.compute.threads import Cores
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError

if TYPE_CHECKING:
    import torch

    from gformer_cli.bundle import Bundle
    from gformer_cli.export.model import GraphModel


class Loaded(NamedTuple):
    """What predicts."""

    bundle: Bundle | GraphModel
    device: torch.device
    workers: int
    cores: Cores


@dataclass(frozen=True)
class Prediction:
    """These options of one command line."""

    model: Path
    backbone: str | None
    white_level: float | None
    temperature: float | None
    device: str
    precision: str
    workers: int | None
    threads: int | None

    def load(self, terminal: Terminal) -> Loaded:
        """Raises `InputError` for what is not there or does not fit."""
        from gformer_cli.compute.device import pick_device, pick_workers
        from gformer_cli.export.header import is_graph_file
        from gformer_cli.export.model import load_model

        if is_graph_file(self.model):
            self._check_graph()
        device = pick_device("cpu" if is_graph_file(self.model) else self.device)
        workers, cores = pick_workers(self.workers), pick_cores(terminal, self.threads)
        bundle = load_model(self.model, threads=cores.count, own_backbone=self.backbone, white_level=self.white_level)
        if self.temperature is not None:
            bundle.set_temperature(self.temperature)
        return Loaded(bundle, device, workers, cores)

    def check_context(self, bundle: Bundle | GraphModel, batches: int) -> None:
        """Raises `InputError` where a context of so many `batches` can have no effect."""
        from gformer_cli.export.header import is_graph_file

        if batches and bundle.header.static is not None:
            raise InputError(
                "--context has no effect on a static bundle", "It predicts every batch with the same statistics."
            )
        if batches and is_graph_file(self.model):
            raise InputError(
                f"--context has no effect on {self.model}", "Each batch stands for itself in an ONNX file."
            )

    def _check_graph(self) -> None:
        from gformer_cli.export.model import check_graph_device

        check_graph_device(self.model, self.device)
        if self.precision == "bfloat16":
            raise InputError(f"--precision bfloat16 has no effect on {self.model}", "Its graph computes in float32.")

    def settings(self, **own: object) -> dict[str, Any]:
        """The choices that decide predictions: those of the command, and these."""
        level = {} if self.white_level is None else {"white_level": self.white_level}
        heat = {} if self.temperature is None else {"temperature": self.temperature}
        return {**own, "precision": self.precision, **level, **heat}
