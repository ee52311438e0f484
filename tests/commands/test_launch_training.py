from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.app import run as run_here
from gformer_cli.bundle import load_bundle
from tests.commands.launching import launched, struck

pytestmark = pytest.mark.slow
OPTIONS = ("--start", "none", "--steps", "20", "--set", "meta_train.validate_every=4", "--set")
OPTIONS += ("meta_train.episodes_per_step=3", "--set", "meta_train.guard_batches=1")
OPTIONS += ("--set", "meta_train.learning_rate=0.02", "--set", "meta_train.constant=false")
"""Three episodes a step: two processes have unequal shares."""


@pytest.fixture(scope="module")
def words(data: Path) -> tuple[object, ...]:
    return ("meta-train", "--source", data / "sources", *OPTIONS)


@pytest.fixture(scope="module")
def alone(words: tuple[object, ...], finished_pretrain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that one process has meta-trained."""
    folder = Path(shutil.copytree(finished_pretrain, tmp_path_factory.mktemp("alone") / "run"))
    assert run_here([*map(str, words), "--run", str(folder)]) == 0
    return folder


def predict(run: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the generated model and of the source model."""
    bundle = load_bundle(run / "model.gformer")
    images = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return bundle.model(bundle.backbone, images).logits, bundle.backbone(images)  # type: ignore[union-attr]


def off(run: Path, alone: Path) -> float:
    """The difference of the logits of two generators, as a share of what adapting changes."""
    (ours, _), (theirs, source) = predict(run), predict(alone)
    return float((ours - theirs).abs().max() / (theirs - source).abs().max())


def log(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(text) for text in (run / "meta-train.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_two_processes_learn_what_one_does(alone: Path, pretrained: Path, words: tuple[object, ...]) -> None:
    done = launched(*words, "--run", pretrained)
    assert done.returncode == 0, done.stderr
    assert off(pretrained, alone) < 1e-5
    for ours, theirs in zip(log(pretrained), log(alone), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-5)
    found, expected = (load_bundle(run / "model.gformer").header for run in (pretrained, alone))
    assert found.validation == pytest.approx(expected.validation, abs=1e-6)
    assert found.guard is not None and expected.guard is not None
    assert found.guard.figures == pytest.approx(expected.guard.figures, abs=1e-4)
    assert "no trained generator beat" not in done.stderr  # what is compared was learnt
    assert done.stdout.count("Wrote") == 1 and done.stderr.count("meta-training generator: 20") == 1


def test_a_killed_process_ends_the_others_and_any_number_goes_on(
    alone: Path, pretrained: Path, words: tuple[object, ...]
) -> None:
    begun: Callable[[], bool] = (pretrained / "checkpoints" / "generator.pt").is_file
    died = struck(begun, lambda pid: os.kill(pid, signal.SIGKILL), 1, *words, "--run", pretrained)
    assert died.returncode == 1
    assert [line for line in died.stderr.splitlines() if "error" in line.lower()] == [
        "error: process 1 was killed (SIGKILL), perhaps because memory ran out"
    ], died.stderr
    done = launched(*words, "--run", pretrained, "--resume", processes=3)
    assert done.returncode == 0, done.stderr
    assert off(pretrained, alone) < 1e-5


def test_a_stop_that_one_process_hears_of_stops_all_after_the_same_step(
    alone: Path, pretrained: Path, words: tuple[object, ...]
) -> None:
    begun: Callable[[], bool] = (pretrained / "checkpoints" / "generator.pt").is_file
    stopped = struck(begun, lambda pid: os.kill(pid, signal.SIGTERM), 1, *words, "--run", pretrained)
    assert stopped.returncode == 130
    told = [line for line in stopped.stderr.splitlines() if line.startswith("error")]
    assert len(told) == 1 and "stopped after step" in told[0], stopped.stderr
    assert run_here([*map(str, words), "--run", str(pretrained), "--resume"]) == 0
    assert off(pretrained, alone) < 1e-5
