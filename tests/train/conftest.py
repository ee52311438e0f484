from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gformer_cli.bundle import build_generator, build_model
from gformer_cli.config import resolve
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.data.labelled import load_labelled
from gformer_cli.folders.domains import Domain
from gformer_cli.settings import Settings
from gformer_cli.train.episode_sources import EpisodeSource
from gformer_cli.train.episodes import EpisodeWork
from gformer_cli.train.meta_trainer import MetaTrainer
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import SourceModels, preprocessing_of

CPU = torch.device("cpu")


@pytest.fixture
def run(pretrained: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(pretrained, tmp_path / "run")))


@pytest.fixture
def make_trainer(domains: list[Domain], run: RunFolder, tiny: Settings) -> Callable[..., MetaTrainer]:
    """`make_trainer("meta_train.huber_weight=0")`: a trainer with an untrained generator."""

    def make(*assignments: str, leave_one_domain_out: bool = True) -> MetaTrainer:
        settings = resolve(base=tiny, assignments=assignments)
        loaded, _ = load_labelled(
            domains, ["dark", "light"], preprocessing_of(settings), validation_fraction=0.2, seed=0, workers=0
        )
        models = SourceModels(run, run.source(), settings, CPU)
        torch.manual_seed(0)
        generator = build_generator(settings.generator, models.full)
        asked = build_model(settings.generator, generator)
        how = {"probe_images": asked.probe_images, "probes_source": asked.probes_source}
        model = GeneralizeFormer(generator, prior_count=16.0, **how)
        source = EpisodeSource("run", models, loaded, settings, leave_one_domain_out)
        return MetaTrainer(model, [source], settings, run, CPU, label="generator")

    return make


@pytest.fixture
def make_work(make_trainer: Callable[..., MetaTrainer]) -> Callable[..., EpisodeWork]:
    """`make_work("meta_train.huber_weight=0")`: the episodes of such a trainer."""
    return lambda *assignments, **others: make_trainer(*assignments, **others).works[0]
