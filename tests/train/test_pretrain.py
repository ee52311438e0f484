from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.config import resolve
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, ImageFiles
from gformer_cli.settings import Settings
from gformer_cli.train import pretrain as stage
from gformer_cli.train.pretrain import pretrain
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_trainer import SourceTrainer

CPU = torch.device("cpu")


LABELS = ["all", "without-blue", "without-green", "without-red"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str, tuple[int, ...]]]:
    """What each reading of pixels was for: (model, `train` or `validate`, domain, positions)."""
    found: list[tuple[str, str, str, tuple[int, ...]]] = []
    doing = ["", ""]

    def note(name: str, what: str) -> None:
        original = getattr(SourceTrainer, name)

        def call(self: SourceTrainer, *arguments: Any) -> Any:
            doing[:] = [self.label, what]
            return original(self, *arguments)

        monkeypatch.setattr(SourceTrainer, name, call)

    original = LabelledDomain.pixels

    def pixels(self: LabelledDomain, positions: Sequence[int]) -> torch.Tensor:
        found.append((doing[0], doing[1], self.name, tuple(positions)))
        return original(self, positions)

    note("step", "train")
    note("validate", "validate")
    monkeypatch.setattr(LabelledDomain, "pixels", pixels)
    return found


@pytest.fixture
def train(domains: list[Domain], tiny: Settings, tmp_path: Path) -> Callable[..., stage.PretrainResult]:
    """`train("pretrain.steps=2")`: pretrain into `tmp_path / "run"`."""

    def call(*assignments: str) -> stage.PretrainResult:
        settings = resolve(base=tiny, assignments=assignments)
        return pretrain(domains, settings, RunFolder(tmp_path / "run"), device=CPU, workers=0)

    return call


def test_a_leave_one_domain_out_model_never_sees_its_domain(train: Callable[..., Any], read: list[Any]) -> None:
    train()
    seen = {label: {domain for model, _, domain, _ in read if model == label} for label in LABELS}
    assert seen == {
        "all": {"blue", "green", "red"},
        "without-blue": {"green", "red"},
        "without-green": {"blue", "red"},
        "without-red": {"blue", "green"},
    }


def test_no_validation_image_is_trained_on(train: Callable[..., Any], read: list[Any]) -> None:
    train("pretrain.steps=8", "pretrain.validate_every=8")
    for domain in ("blue", "green", "red"):
        used = {
            what: {p for _, w, d, ps in read if (w, d) == (what, domain) for p in ps} for what in ("train", "validate")
        }
        assert used["train"] & used["validate"] == set()
        assert used["train"] | used["validate"] == set(range(10))


def test_batches_hold_the_domains_alike(train: Callable[..., Any], read: list[Any]) -> None:
    train("pretrain.steps=5", "pretrain.leave_one_domain_out=false")
    counts: Counter[str] = Counter()
    for _, what, domain, positions in read:
        if what == "train":
            counts[domain] += len(positions)
    assert counts == {"blue": 5 * 3, "green": 5 * 2, "red": 5 * 2}


def test_every_training_image_comes_up_before_any_comes_twice(train: Callable[..., Any], read: list[Any]) -> None:
    train("pretrain.steps=4", "pretrain.batch_size=6", "pretrain.leave_one_domain_out=false")
    taken = [p for _, what, domain, positions in read if (what, domain) == ("train", "red") for p in positions]
    assert len(taken) == 8 and len(set(taken)) == 8


@pytest.mark.parametrize(("accuracies", "best"), [([0.1, 0.7, 0.3, 0.2], 2), ([0.5, 0.5, 0.6, 0.9], 4)])
def test_the_model_that_was_best_on_validation_is_kept(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accuracies: list[float], best: int
) -> None:
    states: list[dict[str, torch.Tensor]] = []

    def accuracy(self: SourceTrainer) -> float:
        states.append({name: tensor.clone() for name, tensor in self.network.state_dict().items()})
        return ([*accuracies, 0.0])[len(states) - 1]

    monkeypatch.setattr(SourceTrainer, "validate", accuracy)
    train("pretrain.leave_one_domain_out=false")
    kept = RunFolder(tmp_path / "run").load_model("all")
    assert all(torch.equal(kept[name], tensor) for name, tensor in states[best - 1].items())
    assert any(not torch.equal(kept[name], tensor) for name, tensor in states[best - 2].items())


def test_the_result_counts_readable_images(train: Callable[..., Any]) -> None:
    result = train("pretrain.steps=1")
    assert result.source.domains["red"] == {"dark": 5, "light": 5}
    assert list(result.accuracies) == LABELS
    assert result.source.validation_accuracy == result.accuracies["all"]
    assert result.skipped == []


@pytest.mark.slow
def test_more_training_lowers_the_loss(train: Callable[..., Any], tmp_path: Path) -> None:
    from statistics import median

    train("pretrain.steps=30", "pretrain.validate_every=1", "pretrain.leave_one_domain_out=false")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "pretrain.jsonl").read_text().splitlines()]
    assert median(losses[-10:]) < 0.5 * median(losses[:5])


@pytest.mark.parametrize(
    ("more", "label"), [((), "all"), (("blue",), "without-blue"), (("blue", "red"), None)], ids=["none", "one", "two"]
)
def test_a_model_without_any_validation_image_is_told_before_training(
    domains: list[Domain], tiny: Settings, tmp_path: Path, more: tuple[str, ...], label: str | None
) -> None:
    """One image of each class, but for the domains in `more`, which have two."""
    few = []
    for domain in domains:
        count = 2 if domain.name in more else 1
        kept = [file for name in domain.classes for file in [f for f in domain.files if f.label == name][:count]]
        few.append(replace(domain, files=ImageFiles(kept)))
    run = RunFolder(tmp_path / "run")
    if label is None:
        pretrain(few, tiny, run, device=CPU, workers=0)
        return
    with pytest.raises(InputError, match=f"nothing to validate model '{label}' on"):
        pretrain(few, tiny, run, device=CPU, workers=0)
    assert not run.root.exists()
