from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gformer_cli.app import run as run_here
from tests.commands.launching import launched, struck

pytestmark = pytest.mark.slow
NETWORK = """
from torch import nn

def network(classes):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1), {norm}, nn.ReLU(), nn.Conv2d(16, 16, 3, 2, 1), {norm}, nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
    )
"""
PLAIN = (
    "backbone.width=1",
    "backbone.stem=standard",
    "pretrain.crop=1.0",
    "pretrain.flip=false",
    "pretrain.jitter=0.0",
    "pretrain.precision=float32",
)
"""Without augmentation, of which processes that share a batch have draws of their own."""


@pytest.fixture
def words(data: Path, preset: Path, tmp_path: Path) -> Callable[..., list[object]]:
    """A command that trains the source model alone: there are more processes than models."""

    def words_of(norm: str, steps: int = 24, *more: object) -> list[object]:
        path = tmp_path / "network.py"
        path.write_text(NETWORK.format(norm=norm))
        settings = (*PLAIN, f"pretrain.steps={steps}", "pretrain.validate_every=6", "pretrain.batch_size=9")
        changes = [part for setting in (*settings, "pretrain.learning_rate=0.01") for part in ("--set", setting)]
        own = ["--backbone", f"{path}:network", "--no-leave-one-out", *changes]
        return ["pretrain", "--source", data / "sources", "--preset", preset, *own, *more, "--out"]

    return words_of


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "models" / "all.safetensors")


def log(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(text) for text in (run / "pretrain.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in ("model", "step", "loss", "validation_accuracy")} for line in lines]


def test_processes_that_share_every_step_learn_what_one_does(
    words: Callable[..., list[object]], tmp_path: Path
) -> None:
    own = words("nn.GroupNorm(4, 16)")
    assert run_here([*map(str, own), str(tmp_path / "alone")]) == 0
    # of nine images, three of each domain: of some domains some processes have none
    done = launched(*own, tmp_path / "four", processes=4)
    assert done.returncode == 0, done.stderr
    alone, four = weights(tmp_path / "alone"), weights(tmp_path / "four")
    for name in alone:
        torch.testing.assert_close(four[name], alone[name], rtol=1e-3, atol=1e-4)
    for ours, theirs in zip(log(tmp_path / "four"), log(tmp_path / "alone"), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
    assert done.stderr.count("training all: 24") == 1 and "will wait" not in done.stderr


def test_batch_statistics_are_of_each_part_and_those_of_the_first_process_are_kept(
    words: Callable[..., list[object]], tmp_path: Path
) -> None:
    own = words("nn.BatchNorm2d(16)")
    for name in ("one", "two"):
        done = launched(*own, tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert run_here([*map(str, own), str(tmp_path / "alone")]) == 0
    one, two, alone = (weights(tmp_path / name) for name in ("one", "two", "alone"))
    for name in one:
        assert torch.equal(one[name], two[name])  # the same command, the same file
    assert not torch.allclose(one["1.running_mean"], alone["1.running_mean"], atol=1e-4)
    assert log(tmp_path / "one")[-1]["validation_accuracy"] > 0.5


def test_a_killed_process_ends_the_others_and_one_alone_goes_on(
    words: Callable[..., list[object]], tmp_path: Path
) -> None:
    own, folder = words("nn.GroupNorm(4, 16)", 240), tmp_path / "run"
    begun: Callable[[], bool] = (folder / "checkpoints" / "all.pt").is_file
    died = struck(begun, lambda pid: os.kill(pid, signal.SIGKILL), 1, *own, folder)
    assert died.returncode == 1 and "process 1 was killed" in died.stderr
    assert not (folder / "models" / "all.safetensors").exists()
    assert run_here([*map(str, own), str(folder), "--resume"]) == 0
    assert log(folder)[-1]["step"] == 240


def test_as_many_processes_as_models_train_what_one_trains_to_the_bit(
    data: Path, finished_pretrain: Path, preset: Path, tmp_path: Path
) -> None:
    done = launched("pretrain", "--source", data / "sources", "--out", tmp_path / "run", "--preset", preset)
    assert done.returncode == 0, done.stderr
    models = sorted(path.name for path in (finished_pretrain / "models").iterdir())
    assert len(models) == 4
    for name in models:
        found, expected = (load_file(run / "models" / name) for run in (tmp_path / "run", finished_pretrain))
        assert all(torch.equal(found[key], expected[key]) for key in expected), name


def test_a_batch_that_is_too_small_to_share_is_refused(words: Callable[..., list[object]], tmp_path: Path) -> None:
    own = words("nn.GroupNorm(4, 16)", 24, "--set", "pretrain.batch_size=3")
    done = launched(*own, tmp_path / "run")
    assert done.returncode != 0
    assert "2 processes cannot share batches of 3 images: each needs 2" in done.stderr
    assert "pretrain.batch_size" in done.stderr and not (tmp_path / "run").exists()
