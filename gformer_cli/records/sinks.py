"""Where the records of a training go, beside its folder. The packages are extras, imported when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gformer_cli.errors import InputError

if TYPE_CHECKING:
    import torch

    from gformer_cli.records.points import Point


class Log(str, Enum):
    """What `--log` takes."""

    tensorboard = "tensorboard"
    mlflow = "mlflow"


@dataclass(frozen=True)
class Stage:
    """The training that is recorded."""

    name: str
    """`pretrain` or `meta-train`."""
    run: Path
    """The run folder, as the user calls it."""
    settings: Mapping[str, str]
    """By dotted name."""
    resumed: bool


@dataclass(frozen=True)
class Picture:
    """An image with a line about it."""

    pixels: torch.Tensor
    """uint8 (3, S, S)."""
    caption: str


class Sink(Protocol):
    """Takes the records of one stage. What it was told before is never written twice."""

    def tell(self, points: Sequence[Point]) -> None:
        """All points of the stage so far, those of before once more."""

    def show(self, pictures: Sequence[Picture]) -> None:
        """Images of the end of training."""

    def close(self, *, finished: bool) -> None:
        """No more comes now; unless it is `finished`, a resumed stage goes on."""


Opener = Callable[[Stage, Path], Sink]
"""Opens a sink for a stage whose files lie in a folder."""


def check_log(wanted: Sequence[Log]) -> None:
    """Raises `InputError` where the package of one is missing."""
    for log in wanted:
        if find_spec(log.value) is None:
            raise InputError(f"--log {log.value} needs {log.value}", f"Install it: pip install 'gformer[{log.value}]'")


def openers(wanted: Sequence[Log]) -> list[Opener]:
    """A way to open each, named once."""
    return [_OPENERS[log] for log in dict.fromkeys(wanted)]


def _tensorboard(stage: Stage, folder: Path) -> Sink:
    from gformer_cli.records.tensorboard import TensorBoard

    return TensorBoard(stage, folder)


def _mlflow(stage: Stage, folder: Path) -> Sink:
    from gformer_cli.records.mlflow import MLflow

    return MLflow(stage, folder)


_OPENERS: dict[Log, Opener] = {Log.tensorboard: _tensorboard, Log.mlflow: _mlflow}
