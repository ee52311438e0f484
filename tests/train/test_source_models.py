from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.progress import Silent
from gformer_cli.settings import Settings
from gformer_cli.train.meta_trainer import MetaTrainer
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import SourceModels

CPU = torch.device("cpu")


NAMES = ("blue", "green", "red")


def state(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("name", NAMES)
def test_unaware_of_gives_the_model_that_was_trained_without(run: RunFolder, tiny: Settings, name: str) -> None:
    models = SourceModels(run, run.source(), tiny, CPU)
    assert same(state(models.unaware_of(name)), run.load_model(f"without-{name}"))
    assert same(state(models.full), run.load_model("all"))


def test_source_models_are_bit_identical_afterwards(make_trainer: Callable[..., MetaTrainer], run: RunFolder) -> None:
    trainer = make_trainer()
    known = trainer.works[0].models
    models = [known.full, *(known.unaware_of(name) for name in NAMES)]
    before = [state(model) for model in models]
    trainer.train(Silent())
    assert all(same(state(model), kept) for model, kept in zip(models, before, strict=True))
    assert all(parameter.grad is None for model in models for parameter in model.parameters())


@pytest.mark.slow
def test_source_models_are_bit_identical_after_a_thousand_episodes(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer("meta_train.episodes_per_step=10", "meta_train.steps=100", "meta_train.validate_every=50")
    known = trainer.works[0].models
    models = [known.full, *(known.unaware_of(name) for name in NAMES)]
    before = [state(model) for model in models]
    trainer.train(Silent())
    assert all(same(state(model), kept) for model, kept in zip(models, before, strict=True))
