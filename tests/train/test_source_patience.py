"""A source model that is trained until its validation stops rising: the accuracies of its validations are given."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.compute.pace import Pace
from gformer_cli.config import resolve
from gformer_cli.errors import Interrupted
from gformer_cli.folders.domains import Domain
from gformer_cli.progress import Silent, StopRequest
from gformer_cli.settings import Settings
from gformer_cli.train import source_trainer
from gformer_cli.train.pretrain import PretrainResult, pretrain, read_source
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_crew import SourceWork
from gformer_cli.train.source_trainer import SourceTrainer

CPU = torch.device("cpu")
WAITS = ["pretrain.steps=20", "pretrain.patience=2", "pretrain.warmup=0", "pretrain.leave_one_domain_out=false"]
RISEN = [0.2, 0.6, 0.8, 0.7, 0.8, *[0.75] * 9]
"""Patience runs out after 5 steps, so that the rate falls in 2 more."""

Train = Callable[..., PretrainResult]


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate of every step."""
    found: list[float] = []
    original = source_trainer.set_learning_rate

    def note(optimizer: torch.optim.Optimizer, value: float) -> None:
        found.append(value)
        original(optimizer, value)

    monkeypatch.setattr(source_trainer, "set_learning_rate", note)
    return found


@pytest.fixture
def train(domains: list[Domain], tiny: Settings, tmp_path: Path) -> Train:
    def call(*assignments: str, run: str = "run", **how: Any) -> PretrainResult:
        settings = resolve(base=tiny, assignments=[*WAITS, *assignments])
        return pretrain(domains, settings, RunFolder(tmp_path / run), device=CPU, workers=0, **how)

    return call


def validations(monkeypatch: pytest.MonkeyPatch, accuracies: Sequence[float]) -> None:
    """Each model's validation after so many steps; what is written at the end is not asked for."""
    step = SourceTrainer.step
    done: dict[str, int] = {}

    def count(self: SourceTrainer, number: int) -> float:
        done[self.label] = number
        return step(self, number)

    def validate(self: SourceTrainer) -> float:
        self.accuracy = accuracies[done[self.label]]
        return self.accuracy

    monkeypatch.setattr(SourceTrainer, "step", count)
    monkeypatch.setattr(SourceTrainer, "validate", validate)


def logged(run: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run / "pretrain.jsonl").read_text().splitlines()]


def test_the_rate_falls_when_patience_runs_out(
    train: Train, rates: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validations(monkeypatch, RISEN)
    done = train()
    assert rates == pytest.approx([0.01] * 5 + [0.01 * 2 / 3, 0.01 / 3])
    assert logged(tmp_path / "run") == list(range(1, 8))
    assert done.source.still_rising is False


def test_the_rate_falls_in_time_for_the_last_step_where_validation_goes_on_rising(
    train: Train, rates: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validations(monkeypatch, [0.04 * (step + 1) for step in range(20)])
    done = train()
    assert rates == pytest.approx([0.01] * 16 + [0.01 * left / 5 for left in (4, 3, 2, 1)])
    assert done.source.still_rising is True


def test_without_patience_all_steps_are_taken(
    train: Train, rates: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    validations(monkeypatch, [*RISEN, *[0.5] * 6])
    assert train("pretrain.patience=null").source.still_rising is False
    assert len(rates) == 20 and all(after < before for before, after in pairwise(rates[1:]))


@pytest.mark.parametrize("after", [3, 5, 6])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    train: Train, rates: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    validations(monkeypatch, RISEN)
    whole = train(run="whole")
    at_once, rates[:] = list(rates), []
    step = SourceTrainer.step

    def stop(self: SourceTrainer, number: int) -> float:
        if number == after - 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(SourceTrainer, "step", stop)
        with pytest.raises(Interrupted, match=f"stopped after step {after} of"):
            train()
    assert train(resume=True) == whole
    assert rates == at_once
    one, two = (RunFolder(tmp_path / name).load_model("all") for name in ("whole", "run"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_legs_of_one_validation_are_one_training(
    domains: list[Domain], tiny: Settings, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validations(monkeypatch, RISEN)
    whole = train(run="whole")
    settings, run = resolve(base=tiny, assignments=WAITS), RunFolder(tmp_path / "legs")
    run.claim(settings, resume=False, overwrite=False)
    loaded, _ = read_source(domains, ["dark", "light"], settings, workers=0, strict=False, progress=Silent())
    own = Silent(), StopRequest(), Pace(1)
    work = SourceWork(settings, run, 2, CPU, {"all": loaded}, *own, by_legs=True)
    legs = [work.leg("all") for _ in range(6)]
    assert [leg.step for leg in legs] == [1, 2, 3, 4, 6, 7]
    assert [leg.accuracy for leg in legs] == [None] * 5 + [whole.accuracies["all"]]
    one, two = (RunFolder(tmp_path / name).load_model("all") for name in ("whole", "legs"))
    assert all(torch.equal(one[name], two[name]) for name in one)
