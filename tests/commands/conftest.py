"""Shapes under different light, a run and a bundle made from them once, and a way to call the command."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer.main
from PIL import Image

from gformer_cli.app import run

CLASSES = ("circle", "square", "stripes")
LIGHT = {
    "sources": {"dawn": (1.0, 0.7, 0.6), "dusk": (0.6, 0.5, 1.0), "noon": (1.0, 1.0, 0.9)},
    "targets": {"fog": (0.5, 0.5, 0.5), "night": (0.2, 0.2, 0.3)},
}
PRESET = """\
data: {image_size: 16}
backbone: {stem: small, width: 0.125, weights: none}
pretrain: {steps: 4, batch_size: 9, learning_rate: 0.01, validate_every: 2}
generator: {width: 8, depth: 1, heads: 2, channel_width: 4}
meta_train: {steps: 2, episodes_per_step: 2, largest_batch: 8, validate_every: 1, validation_batches: 1,
             huber_weight: 0.1, guard_batches: 0, constant: false}
"""
UNTRAINED = ("--start", "none")
"""What meta-train of the tests' tiny generators is told."""


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; fails where there is anything else."""
        return json.loads(self.out)


Gformer = Callable[..., Outcome]


def shape(label: str, rng: np.random.Generator) -> np.ndarray:
    """A white shape on black at a random place, float (16, 16)."""
    down, across = np.mgrid[:16, :16]
    y, x = rng.uniform(6, 10, 2)
    if label == "circle":
        return ((down - y) ** 2 + (across - x) ** 2 < 20).astype(float)
    if label == "square":
        return ((abs(down - y) < 4) & (abs(across - x) < 4)).astype(float)
    return ((down + round(x)) % 4 < 2).astype(float)


def write_image(path: Path, label: str, light: tuple[float, float, float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = (0.8 * shape(label, rng)[..., None] + rng.uniform(0, 0.2, (16, 16, 3))) * light
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(path)


@pytest.fixture(autouse=True)
def plain_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours and no terminal, whatever the tests run in."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="session", autouse=True)
def commands_made_once() -> Iterator[None]:
    """The commands with their options take longer to make than most tests to run, and are the same in every test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def told_one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and lose much where the cores are busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        yield


@pytest.fixture(autouse=True)
def one_thread(told_one_thread: None) -> None:
    """Whatever a test before has asked for."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """sources/{dawn,dusk,noon} and targets/{fog,night} with ten images of each class. Not to be written to."""
    root = tmp_path_factory.mktemp("data")
    seed = 0
    for role, domains in LIGHT.items():
        for domain, light in domains.items():
            for label in CLASSES:
                for number in range(10):
                    seed += 1
                    write_image(root / role / domain / label / f"{number:02d}.png", label, light, seed)
    return root


@pytest.fixture
def own_data(data: Path, tmp_path: Path) -> Path:
    """A copy of `data` that a test may change."""
    return Path(shutil.copytree(data, tmp_path / "data"))


@pytest.fixture(scope="session")
def preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset that trains in a second."""
    path = tmp_path_factory.mktemp("preset") / "tiny.yaml"
    path.write_text(PRESET)
    return path


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str]) -> Gformer:
    """`typed("adapt", "--model", path, ...)`: run one command line in this process."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = run([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return call


@pytest.fixture
def gformer(typed: Gformer) -> Gformer:
    """The same; what meta-train trains is as small as the tests' settings say, and begins with nothing, unless a start
    is named."""

    def call(*arguments: object) -> Outcome:
        named = "--start" in arguments or arguments[:1] != ("meta-train",)
        return typed(*arguments, *([] if named else UNTRAINED))

    return call


@pytest.fixture(scope="session")
def finished_pretrain(data: Path, preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretrained run. Not to be written to."""
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    assert run(["pretrain", "--source", f"{data}/sources", "--out", str(folder), "--preset", str(preset)]) == 0
    return folder


@pytest.fixture
def pretrained(finished_pretrain: Path, tmp_path: Path) -> Path:
    """A copy of the pretrained run that a test may meta-train."""
    return Path(shutil.copytree(finished_pretrain, tmp_path / "run"))


@pytest.fixture(scope="session")
def trained(data: Path, finished_pretrain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a bundle that has a guard and whose generator moves the parameters visibly. Not to be written to."""
    folder = Path(shutil.copytree(finished_pretrain, tmp_path_factory.mktemp("trained") / "run"))
    changes = ["--set", "meta_train.steps=6", "--set", "meta_train.learning_rate=0.05"]
    changes += ["--set", "meta_train.validate_every=6", "--set", "meta_train.guard_batches=1"]
    changes += ["--set", "meta_train.constant=true"]
    assert run(["meta-train", "--source", f"{data}/sources", "--run", str(folder), *changes, *UNTRAINED]) == 0
    return folder


@pytest.fixture(scope="session")
def bundle(trained: Path) -> Path:
    return trained / "model.gformer"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by relative path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(name="contents")
def _contents() -> Callable[[Path], dict[str, bytes]]:
    return contents


@pytest.fixture
def read_csv() -> Callable[[Path], list[dict[str, str]]]:
    def read(path: Path) -> list[dict[str, str]]:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture
def read_log() -> Callable[[Path], list[dict[str, Any]]]:
    """A JSON-lines log without its times."""

    def read(path: Path) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]

    return read


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """`stop_after("pretrain", 3)`: from now on the stage's third step is followed by a real SIGINT, once."""
    import os
    import signal

    from gformer_cli.train.meta_trainer import MetaTrainer
    from gformer_cli.train.source_trainer import SourceTrainer

    def arrange(stage: str, count: int) -> None:
        owner = SourceTrainer if stage == "pretrain" else MetaTrainer
        original, taken = owner.step, []

        def step(*arguments: Any) -> Any:
            result = original(*arguments)
            taken.append(result)
            if len(taken) == count:
                os.kill(os.getpid(), signal.SIGINT)
            return result

        monkeypatch.setattr(owner, "step", step)

    return arrange
