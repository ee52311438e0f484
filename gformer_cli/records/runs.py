"""What is known of a run, for a table of several."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gformer_cli.bundle import read_header
from gformer_cli.errors import InputError
from gformer_cli.records.flat import flat
from gformer_cli.records.points import Point, read_points
from gformer_cli.settings import Settings
from gformer_cli.train.meta_trainer import GENERATOR
from gformer_cli.train.run_folder import ALL, RunFolder


@dataclass(frozen=True)
class Training:
    """How far the training of a model came."""

    steps: int
    """By the last validation."""
    best: float
    """The highest validation accuracy."""
    best_step: int


@dataclass(frozen=True)
class Run:
    """One run folder."""

    run: str
    state: str
    """`meta-trained`, `pretrained`, `imported`, or `unfinished`: the source model is not done."""
    settings: dict[str, str]
    """By dotted name; those of meta-training where that is done."""
    source: Training | None
    """The model that is trained on all domains; None for an imported one."""
    source_accuracy: float | None
    """On validation images; None where it is not known."""
    generator: Training | None
    seconds: float
    """That all models' steps took, one model after the other."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read_run(folder: Path) -> Run:
    """Raises `InputError` where `folder` is no run."""
    run = RunFolder(folder)
    if not run.started:
        raise InputError(f"{folder} is not a run of gformer", "Name folders that pretrain, import or meta-train made.")
    pretrained, taught = read_points(run.pretrain_log), read_points(run.meta_train_log)
    accuracy = run.source().validation_accuracy if run.source_path.is_file() else None
    return Run(
        run=str(folder),
        state=_state(run),
        settings=flat(_settings(run)),
        source=_training(pretrained, ALL),
        source_accuracy=accuracy,
        generator=_training(taught, GENERATOR),
        seconds=_seconds(pretrained) + _seconds(taught),
    )


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The settings in which `runs` differ, with the value of each."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [run.settings.get(name, "") for run in runs] for name in names}
    return {name: own for name, own in values.items() if len(set(own)) > 1}


def _state(run: RunFolder) -> str:
    if run.meta_trained:
        return "meta-trained"
    if run.imported_path.is_file():
        return "imported"
    return "pretrained" if run.pretrained else "unfinished"


def _settings(run: RunFolder) -> Settings:
    if run.meta_trained:
        with suppress(InputError):
            return read_header(run.bundle).settings
    return run.settings()


def _training(points: Sequence[Point], model: str) -> Training | None:
    own = [point for point in points if point.model == model and "validation_accuracy" in point.figures]
    if not own:
        return None
    best = max(own, key=lambda point: (point.figures["validation_accuracy"], -point.step))
    return Training(own[-1].step, best.figures["validation_accuracy"], best.step)


def _seconds(points: Sequence[Point]) -> float:
    last = {point.model: point.figures.get("seconds", 0.0) for point in points}
    return sum(last.values())
