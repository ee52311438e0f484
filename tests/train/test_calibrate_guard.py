from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from gformer_cli.bundle import build_generator, read_header
from gformer_cli.config import resolve
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.data.labelled import load_labelled
from gformer_cli.folders.domains import Domain
from gformer_cli.guard.hostile import HOSTILE
from gformer_cli.guard.rule import DECISIONS
from gformer_cli.progress import Silent
from gformer_cli.settings import Settings
from gformer_cli.train.calibrate_guard import GuardCalibration
from gformer_cli.train.meta_train import meta_train
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import SourceModels, preprocessing_of

CPU = torch.device("cpu")


@pytest.fixture
def run(pretrained: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(pretrained, tmp_path / "run")))


@pytest.fixture
def calibration(domains: list[Domain], run: RunFolder, tiny: Settings) -> GuardCalibration:
    """Four clean batches per domain and size, of domains that hold out four images of ten."""
    settings = resolve(base=tiny, assignments=["meta_train.guard_batches=4"])
    loaded, _ = load_labelled(
        domains, ["dark", "light"], preprocessing_of(settings), validation_fraction=0.4, seed=0, workers=0
    )
    models = SourceModels(run, run.source(), settings, CPU)
    torch.manual_seed(0)
    generator = build_generator(settings.generator, models.full)
    return GuardCalibration(GeneralizeFormer(generator, prior_count=16.0), models, loaded, settings, CPU)


def test_only_images_that_nothing_was_trained_on_are_used(calibration: GuardCalibration) -> None:
    batches = list(calibration._labelled())
    for batch in batches:
        assert batch.episode is not None
        assert set(batch.episode.positions) <= set(batch.episode.domain.validation)
        domain = batch.episode.domain.name
        known = batch.backbone is calibration.models.full
        assert known or batch.backbone is calibration.models.unaware_of(domain)
        assert known == ("known to the model" in batch.place and "unknown" not in batch.place)


def test_which_batches_there_are(calibration: GuardCalibration) -> None:
    assert calibration.sizes() == [1, 4]
    labelled, hostile = list(calibration._labelled()), list(calibration._hostile())
    # four of four images and four times as many of one, each with a quarter as many of a known domain; two of one class
    assert len(labelled) == 3 * (5 * (4 + 1) + 2)
    assert [sum(batch.size == size for batch in labelled) for size in (1, 4)] == [3 * 20, 3 * 7]
    for batch in labelled:
        if batch.kind == "one_class":
            assert batch.episode is not None
            assert len(set(batch.episode.domain.labels[list(batch.episode.positions)].tolist())) == 1
    assert sorted({batch.hostile for batch in hostile}) == sorted(HOSTILE)
    assert len({batch.seed for batch in hostile}) == len(hostile) == len(HOSTILE) * 2
    assert {batch.fold for batch in labelled} == {batch.fold for batch in hostile} == {0, 1, 2}


@pytest.mark.slow
def test_it_gives_the_same_guard_of_the_same_figures_every_time(calibration: GuardCalibration) -> None:
    first, second = calibration.run(Silent()), calibration.run(Silent())
    assert first == second
    assert first.rule.sizes == (1, 4)
    figures = first.figures  # shares and differences of accuracy
    assert set(figures) == {f"flagged_{kind}" for kind in ("clean", "one_class", "hostile")} | {
        f"{name}{suffix}" for name in ("gain", "harm", "one_class_gain") for suffix in ("", "_guarded")
    }
    assert all(0.0 <= value <= 1.0 for name, value in figures.items() if name.startswith(("flagged", "harm")))


@pytest.mark.slow
def test_a_decision_gains_what_its_parameters_gain(calibration: GuardCalibration) -> None:
    batch = next(batch for batch in calibration._labelled() if batch.size == 4)
    measured = calibration._measure(batch)
    rule = calibration.run(Silent()).rule
    trusted = rule.with_limits({"strangeness": 1e9, "expected-loss": 1e9, "smallest-batch": 1.0})
    doubted = trusted.with_limits({"strangeness": -1e9, "strangeness-far": 1e9})
    refused = trusted.with_limits({"strangeness": -1e9, "strangeness-far": -1e9})
    assert [r.decide(measured.calibration.signals).decision for r in (trusted, doubted, refused)] == list(DECISIONS)
    assert calibration._gain(measured, trusted) == measured.calibration.gain
    assert calibration._gain(measured, refused) == 0.0
    assert -measured.source <= calibration._gain(measured, doubted) <= 1.0 - measured.source


@pytest.mark.slow
def test_meta_train_puts_the_guard_into_the_bundle_unless_it_is_switched_off(
    domains: list[Domain], run: RunFolder, tiny: Settings
) -> None:
    with_guard = resolve(base=tiny, assignments=["meta_train.guard_batches=1"])
    meta_train(domains, with_guard, run, device=CPU, workers=0)
    found = read_header(run.bundle).guard
    assert found is not None and found.rule.sizes == (1, 2) and "gain_guarded" in found.figures
    meta_train(domains, tiny, run, device=CPU, workers=0, overwrite=True)
    assert read_header(run.bundle).guard is None
