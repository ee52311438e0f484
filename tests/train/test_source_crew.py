from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from gformer_cli.compute.threads import Cores
from gformer_cli.config import resolve
from gformer_cli.errors import Interrupted, WorkError
from gformer_cli.folders.domains import Domain
from gformer_cli.progress import Silent
from gformer_cli.settings import Settings
from gformer_cli.train.pretrain import pretrain
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_trainer import SourceTrainer

CPU = torch.device("cpu")


LABELS = ["all", "without-blue", "without-green", "without-red"]


@pytest.mark.slow
def test_the_models_are_the_same_to_the_bit_however_many_processes_train_them(
    domains: list[Domain], tiny: Settings, tmp_path: Path
) -> None:
    """Also with dropout, which draws from the generator of the process."""
    settings = resolve(base=tiny, assignments=["backbone.name=mobilenet_v2", "backbone.stem=standard"])
    settings = resolve(base=settings, assignments=["backbone.width=1", "data.image_size=16", "pretrain.steps=2"])
    runs = {count: RunFolder(tmp_path / str(count)) for count in (1, 2)}
    results = {
        count: pretrain(domains[:2], settings, run, device=CPU, workers=0, cores=Cores(count, True, "here"))
        for count, run in runs.items()
    }
    assert list(results[1].accuracies) == LABELS[:3]
    for label in LABELS[:3]:
        one, two = (run.load_model(label) for run in runs.values())
        assert all(torch.equal(one[name], two[name]) for name in one), label
    assert results[1] == results[2]
    assert not runs[2].checkpoints.exists()
    lines = [sorted(run.pretrain_log.read_text().splitlines(), key=_place) for run in runs.values()]
    assert [_place(line) for line in lines[0]] == [_place(line) for line in lines[1]]


def _place(line: str) -> tuple[str, int]:
    found = json.loads(line)
    return found["model"], found["step"]


def test_what_fails_in_a_process_is_told_as_it_would_be_in_this_one(
    domains: list[Domain], tiny: Settings, tmp_path: Path
) -> None:
    settings = resolve(base=tiny, assignments=["pretrain.learning_rate=1e9"])
    with pytest.raises(WorkError, match="diverged at step") as told:
        pretrain(domains, settings, RunFolder(tmp_path), device=CPU, workers=0, cores=Cores(2, True, "here"))
    assert "pretrain.learning_rate" in told.value.hint


class Begun(Silent):
    def __init__(self) -> None:
        self.begun: list[tuple[str, int, int]] = []

    def begin(self, label: str, total: int, done: int = 0) -> None:
        self.begun.append((label, total, done))


@pytest.mark.slow
def test_a_run_that_one_process_began_is_finished_by_two(
    domains: list[Domain], tiny: Settings, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = RunFolder(pretrained), RunFolder(tmp_path / "parts")
    taken: list[int] = []
    step = SourceTrainer.step

    def stop_after_six(self: SourceTrainer, number: int) -> float:
        taken.append(1)
        if len(taken) == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(SourceTrainer, "step", stop_after_six)
        with pytest.raises(Interrupted, match="after step 2 of 4 of model without-blue"):
            pretrain(domains, tiny, parts, device=CPU, workers=0)
    told = Begun()
    pretrain(domains, tiny, parts, device=CPU, workers=0, resume=True, cores=Cores(2, True, "here"), progress=told)
    assert told.begun[-1] == ("training 4 models, 2 at a time", 4 * 4, 4 + 2)
    for label in LABELS:
        one, two = whole.load_model(label), parts.load_model(label)
        assert all(torch.equal(one[name], two[name]) for name in one), label
