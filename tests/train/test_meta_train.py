from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.bundle import load_bundle
from gformer_cli.compute.threads import Cores
from gformer_cli.config import resolve
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.errors import Interrupted, WorkError
from gformer_cli.folders.domains import Domain
from gformer_cli.progress import Progress, StopRequest
from gformer_cli.settings import Settings
from gformer_cli.train.meta_train import meta_train
from gformer_cli.train.meta_trainer import MetaTrainer
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import SourceModels

CPU = torch.device("cpu")


NAMES = ("blue", "green", "red")


def state(backbone: Backbone) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.slow
def test_no_episode_uses_a_model_that_knows_its_domain(
    domains: list[Domain], run: RunFolder, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Backbone]] = []
    used: list[Backbone] = []
    unaware_of, forward = SourceModels.unaware_of, GeneralizeFormer.forward

    def ask(self: SourceModels, domain: str) -> Backbone:
        asked.append((domain, unaware_of(self, domain)))
        return asked[-1][1]

    def use(self: GeneralizeFormer, backbone: Backbone, *given: Any, **options: Any) -> Any:
        used.append(backbone)
        assert backbone is asked[-1][1]
        return forward(self, backbone, *given, **options)

    for trial in ("train.meta_train.try_generating", "bundle.file.try_generation"):  # of random images
        monkeypatch.setattr(f"gformer_cli.{trial}", lambda *_: None)
    monkeypatch.setattr(SourceModels, "unaware_of", ask)
    monkeypatch.setattr(GeneralizeFormer, "forward", use)
    away = resolve(base=tiny, assignments=["meta_train.at_home=0"])
    meta_train(domains, away, run, device=CPU, workers=0)
    without = {name: run.load_model(f"without-{name}") for name in NAMES}
    assert {name for name, _ in asked} == set(NAMES)
    for name in NAMES:
        for backbone in {id(model): model for domain, model in asked if domain == name}.values():
            assert same(state(backbone), without[name])
    assert len(used) > 6  # training and validation


@pytest.mark.slow
@pytest.mark.parametrize(
    ("accuracies", "best"),  # the first look is at the untrained generator
    [([0.0, 0.1, 0.8, 0.3], 2), ([0.0, 0.4, 0.4, 0.5], 3), ([0.9, 0.1, 0.8, 0.3], 0)],
)
def test_the_generator_that_was_best_on_validation_is_saved(
    domains: list[Domain],
    run: RunFolder,
    tiny: Settings,
    monkeypatch: pytest.MonkeyPatch,
    accuracies: list[float],
    best: int,
) -> None:
    states: list[dict[str, torch.Tensor]] = []

    def answers(self: MetaTrainer, method: str) -> list[list[float]]:
        found = 0.25
        if method == "gformer":
            states.append({name: tensor.clone() for name, tensor in self.model.generator.state_dict().items()})
            found = accuracies[len(states) - 1]
        return [[found] * len(self.works[0].validation)]

    monkeypatch.setattr(MetaTrainer, "answers", answers)
    alone = resolve(base=tiny, assignments=["meta_train.constant=false"])
    result = meta_train(domains, alone, run, device=CPU, workers=0)
    assert result.validation == {"gformer": pytest.approx(max(accuracies)), "source": 0.25, "bn": 0.25}
    saved = load_bundle(run.bundle).model.generator.state_dict()
    assert [same(saved, candidate) for candidate in states] == [number == best for number in range(4)]


@pytest.mark.slow
def test_the_constant_generator_beside_another_is_what_it_would_have_become_alone(
    domains: list[Domain], pretrained: Path, tiny: Settings, tmp_path: Path
) -> None:
    """It is trained on the same episodes in the same order, and takes nothing from the generator."""
    bundles, results = {}, {}
    for name, changes in {
        "both": [],
        "kind": ["generator.kind=constant"],
        "alone": ["meta_train.constant=false"],
    }.items():
        own = RunFolder(Path(shutil.copytree(pretrained, tmp_path / name)))
        results[name] = meta_train(domains, resolve(base=tiny, assignments=changes), own, device=CPU, workers=0)
        bundles[name] = load_bundle(own.bundle)
    constant = bundles["both"].constant
    assert constant is not None and bundles["kind"].constant is None and bundles["alone"].constant is None
    assert same(constant.generator.state_dict(), bundles["kind"].model.generator.state_dict())
    assert same(bundles["both"].model.generator.state_dict(), bundles["alone"].model.generator.state_dict())
    assert results["both"].validation == {
        **results["alone"].validation,
        "constant": results["kind"].validation["gformer"],
    }


@pytest.mark.slow
def test_the_bundle_is_the_same_to_the_bit_however_many_processes_share_the_episodes(
    domains: list[Domain], pretrained: Path, tiny: Settings, tmp_path: Path
) -> None:
    settings = resolve(base=tiny, assignments=["meta_train.guard_batches=1", "meta_train.ema=0.5"])
    runs, results = {}, {}
    for count in (1, 2):
        runs[count] = RunFolder(Path(shutil.copytree(pretrained, tmp_path / str(count))))
        cores = Cores(count, True, "here")
        results[count] = meta_train(domains, settings, runs[count], device=CPU, workers=0, cores=cores)
    one, two = (load_bundle(run.bundle) for run in runs.values())
    assert same(one.model.generator.state_dict(), two.model.generator.state_dict())
    assert one.constant is not None and two.constant is not None
    assert same(one.constant.generator.state_dict(), two.constant.generator.state_dict())
    assert one.header.guard == two.header.guard
    assert results[1].validation == results[2].validation
    assert not runs[2].checkpoints.exists()


@pytest.mark.slow
def test_when_one_training_fails_the_other_ends_and_the_reason_is_told(
    domains: list[Domain], run: RunFolder, tiny: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, ended = MetaTrainer.train, []

    def fail(self: MetaTrainer, progress: Progress, stop: StopRequest | None = None) -> dict[str, float]:
        if self.label == "constant":
            raise WorkError("diverged", "Lower it.")
        try:
            return train(self, progress, stop)
        except Interrupted as error:
            ended.append(error)
            raise

    monkeypatch.setattr(MetaTrainer, "train", fail)
    settings = resolve(base=tiny, assignments=["meta_train.steps=10000", "meta_train.validate_every=10000"])
    with pytest.raises(WorkError, match="diverged"):
        meta_train(domains, settings, run, device=CPU, workers=0, cores=Cores(2, True, "here"))
    assert len(ended) == 1
