"""Training that leaves the finite numbers stops there, says so, and leaves nothing that passes for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.config import resolve
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Domain
from gformer_cli.settings import Settings
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.meta_train import meta_train
from gformer_cli.train.meta_trainer import MetaTrainer
from gformer_cli.train.pretrain import pretrain
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_trainer import SourceTrainer

CPU = torch.device("cpu")
NAN = float("nan")


@pytest.fixture
def watch() -> Divergence:
    return Divergence("model 'all'", "pretrain", "pretrain.learning_rate", 0.5)


def files(run: RunFolder) -> set[str]:
    return {str(path.relative_to(run.root)) for path in run.root.rglob("*") if path.is_file()}


def test_the_error_names_step_setting_and_a_value_to_try(watch: Divergence) -> None:
    with pytest.raises(WorkError) as caught:
        watch.check_loss(7, NAN)
    assert caught.value.message == "training of the model 'all' diverged at step 7: the loss is nan"
    assert "--overwrite" in caught.value.hint and "--set pretrain.learning_rate=0.05" in caught.value.hint


def test_what_is_finite_passes(watch: Divergence) -> None:
    assert watch.check_loss(1, 2.5) == 2.5
    watch.check_state(1, nn.BatchNorm2d(2).state_dict())
    logits = torch.ones(2, 3)
    assert watch.check_logits(logits) is logits


def test_broken_weights_and_answers_are_found(watch: Divergence) -> None:
    with pytest.raises(WorkError, match="step 3: weight holds values that are not finite"):
        watch.check_state(3, {"weight": torch.tensor([1.0, NAN])})
    with pytest.raises(WorkError, match="diverged at step 3: the answers to validation images"):
        watch.check_logits(torch.tensor([[1.0, NAN]]))


@pytest.mark.parametrize("more", [[], ["pretrain.precision=bfloat16"]])
def test_pretraining_with_a_wild_learning_rate_stops(
    domains: list[Domain], tiny: Settings, tmp_path: Path, more: list[str]
) -> None:
    wild = resolve(base=tiny, assignments=["pretrain.learning_rate=1e9", *more])
    run = RunFolder(tmp_path / "run")
    with pytest.raises(WorkError, match=r"training of the model 'all' diverged at step \d"):
        pretrain(domains, wild, run, device=CPU, workers=0)
    assert not {name for name in files(run) if name.startswith("models") or name == "source.json"}
    with pytest.raises(WorkError, match="diverged"):  # and it does so again
        pretrain(domains, wild, run, device=CPU, workers=0, resume=True)


def test_weights_that_break_in_the_last_update_are_not_written(
    domains: list[Domain], tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SourceTrainer.step

    def last_breaks(self: SourceTrainer, number: int) -> float:
        loss = original(self, number)
        if number == 3:
            with torch.no_grad():
                next(self.network.parameters())[0, 0, 0, 0] = NAN
        return loss

    monkeypatch.setattr(SourceTrainer, "step", last_breaks)
    run = RunFolder(tmp_path / "run")
    with pytest.raises(WorkError, match=r"step 4: conv1\.weight holds values that are not finite"):
        pretrain(domains, tiny, run, device=CPU, workers=0)
    assert not run.models.exists()


def test_meta_training_with_a_wild_learning_rate_stops(domains: list[Domain], tiny: Settings, run: RunFolder) -> None:
    wild = resolve(base=tiny, assignments=["meta_train.learning_rate=1e9", "meta_train.steps=20"])
    for resume in (False, True):
        with pytest.raises(WorkError, match="training of the generator diverged") as caught:
            meta_train(domains, wild, run, device=CPU, workers=0, resume=resume)
        assert "--set meta_train.learning_rate=1e+08" in caught.value.hint
        assert not run.bundle.exists()


def test_a_gradient_that_is_not_finite_stops_meta_training(
    domains: list[Domain], tiny: Settings, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = torch.nn.utils.clip_grad_norm_

    def broken(parameters: Any, limit: float) -> torch.Tensor:
        found = list(parameters)
        found[0].grad = torch.full_like(found[0], NAN)
        return original(found, limit)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", broken)
    with pytest.raises(WorkError, match="step 1: the norm of its gradient is nan"):
        meta_train(domains, tiny, run, device=CPU, workers=0)


@pytest.mark.parametrize("label", ["all", "without-red"])
def test_source_models_that_are_not_finite_are_not_meta_trained_on(
    domains: list[Domain], tiny: Settings, run: RunFolder, label: str
) -> None:
    state = run.load_model(label)
    state["fc.bias"][0] = NAN
    run.save_model(label, state)
    with pytest.raises(InputError, match=rf"{label}\.safetensors: fc\.bias holds values that are not finite"):
        meta_train(domains, tiny, run, device=CPU, workers=0)


def test_source_models_that_overflow_are_named(domains: list[Domain], tiny: Settings, run: RunFolder) -> None:
    state = run.load_model("all")
    run.save_model("all", state | {"fc.weight": torch.full_like(state["fc.weight"], 3e38)})
    settings = resolve(base=tiny, assignments=["meta_train.guard_batches=1"])
    with pytest.raises(WorkError, match="source models diverged: the answers") as caught:
        meta_train(domains, settings, run, device=CPU, workers=0)
    assert "gformer pretrain" in caught.value.hint


def test_a_generator_that_is_not_finite_calibrates_no_guard(
    domains: list[Domain], tiny: Settings, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_it(self: MetaTrainer, *_: object) -> dict[str, float]:
        with torch.no_grad():
            for parameter in self.model.generator.parameters():
                parameter.fill_(NAN)
        return {"gformer": 0.0, "source": 0.0, "bn": 0.0}

    monkeypatch.setattr(MetaTrainer, "train", break_it)
    settings = resolve(base=tiny, assignments=["meta_train.guard_batches=1"])
    with pytest.raises(WorkError, match="training of the generator diverged"):
        meta_train(domains, settings, run, device=CPU, workers=0)
    with pytest.raises(WorkError, match="cannot be used"):  # without the guard's look, on reading back
        meta_train(domains, tiny, run, device=CPU, workers=0)
    assert not run.bundle.exists()
