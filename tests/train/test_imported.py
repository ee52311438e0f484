from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gformer_cli.bundle import OriginHeader, load_bundle, tensors_hash
from gformer_cli.compute.pace import Pace
from gformer_cli.config import resolve
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Domain, ImageFiles, find_domains
from gformer_cli.importing.generators import NONE, choose_generator
from gformer_cli.importing.model import Owned, write_run
from gformer_cli.progress import Silent
from gformer_cli.settings import Settings
from gformer_cli.train.imported import labelled_by, own_tensors
from gformer_cli.train.meta_train import check_images, meta_train
from gformer_cli.train.run_folder import ALL, Imported, RunFolder
from gformer_cli.train.source_models import new_network

CPU = torch.device("cpu")
CLASSES = ["light", "grey", "dark"]
"""In no alphabetical order, and of `grey` there is no image."""
LAYERS = """
import torch
from torch import nn


def tiny(num_classes):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, num_classes))
"""


def make_run(root: Path, settings: Settings) -> RunFolder:
    """An imported run, as `gformer import` leaves it."""
    torch.manual_seed(1)
    network = new_network(settings, len(CLASSES), with_weights=False)
    backbone = Backbone(network, image_size=8).freeze()
    own = own_tensors(network)
    origin = OriginHeader(weights="site.pth", tensors=tensors_hash(own), classes="classes.txt", transform="torchvision")
    owned = Owned(backbone, settings, Imported(classes=CLASSES, class_map={}, origin=origin), ())
    run = RunFolder(root)
    chosen = choose_generator(backbone, settings, NONE, recorded=False)
    write_run(owned, run, chosen=chosen, domains=(), overwrite=False)
    return run


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory, settings: Settings) -> Path:
    return make_run(tmp_path_factory.mktemp("imported") / "run", settings).root


@pytest.fixture(scope="module")
def settings() -> Settings:
    from tests.fixtures.trained import SETTINGS

    return resolve(base=SETTINGS, assignments=["meta_train.constant=false", "meta_train.steps=1"])


@pytest.fixture
def imported(_made: Path, tmp_path: Path) -> RunFolder:
    return RunFolder(Path(shutil.copytree(_made, tmp_path / "run")))


def weights(run: RunFolder, label: str = ALL) -> dict[str, torch.Tensor]:
    return run.load_model(label)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_imported_model_stays_as_it_is_to_the_bit(
    domains: list[Domain], imported: RunFolder, settings: Settings
) -> None:
    before = weights(imported)
    meta_train(domains, settings, imported, device=CPU, workers=0)
    assert same(weights(imported), before)
    bundle = load_bundle(imported.bundle)
    assert same(own_tensors(bundle.backbone.network), before)
    assert bundle.header.origin is not None and bundle.header.origin.tensors == tensors_hash(before)
    assert bundle.header.lineage is not None and bundle.header.lineage.stage == "meta-train"


def test_classes_keep_the_order_of_the_head_and_may_lack_images(
    domains: list[Domain], imported: RunFolder, settings: Settings
) -> None:
    meta_train(domains, settings, imported, device=CPU, workers=0)
    assert load_bundle(imported.bundle).header.classes == CLASSES
    assert imported.source().domains["blue"] == {"light": 5, "grey": 0, "dark": 5}


def test_one_source_domain_is_enough(domains: list[Domain], imported: RunFolder, settings: Settings) -> None:
    meta_train(domains[:1], settings, imported, device=CPU, workers=0)
    assert imported.meta_trained
    assert not imported.source().leave_one_domain_out


@pytest.mark.slow
def test_copies_are_fine_tuned_without_each_domain(
    domains: list[Domain], imported: RunFolder, settings: Settings
) -> None:
    before = weights(imported)
    copies = resolve(base=settings, assignments=["meta_train.leave_one_domain_out=2"])
    meta_train(domains, copies, imported, device=CPU, workers=0)
    assert imported.source().leave_one_domain_out
    assert same(weights(imported), before)
    tuned = [weights(imported, f"without-{domain.name}") for domain in domains]
    assert not any(same(one, before) for one in tuned)
    assert not same(tuned[0], tuned[1])


def test_copies_take_all_their_steps_whatever_the_patience(
    domains: list[Domain], imported: RunFolder, settings: Settings
) -> None:
    never_better = ["pretrain.learning_rate=1e-9", "pretrain.validate_every=1", "pretrain.patience=1"]
    copies = resolve(base=settings, assignments=["meta_train.leave_one_domain_out=4", *never_better])
    meta_train(domains[:2], copies, imported, device=CPU, workers=0)
    lines = [json.loads(line) for line in imported.pretrain_log.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4] * 2


@pytest.mark.slow
def test_more_steps_take_a_copy_further(domains: list[Domain], imported: RunFolder, settings: Settings) -> None:
    def distance(steps: int) -> float:
        copies = resolve(
            base=settings,
            assignments=[f"meta_train.leave_one_domain_out={steps}", "pretrain.warmup=0", "pretrain.validate_every=9"],
        )
        meta_train(domains, copies, imported, device=CPU, workers=0, overwrite=True)
        before, after = weights(imported), weights(imported, "without-blue")
        return float((after["fc.weight"] - before["fc.weight"]).norm())

    assert distance(6) > distance(1) > 0.0


@pytest.mark.slow
def test_copies_of_an_earlier_call_are_not_left(domains: list[Domain], imported: RunFolder, settings: Settings) -> None:
    copies = resolve(base=settings, assignments=["meta_train.leave_one_domain_out=1"])
    meta_train(domains, copies, imported, device=CPU, workers=0)
    meta_train(domains, settings, imported, device=CPU, workers=0, overwrite=True)
    assert [path.name for path in imported.models.iterdir()] == ["all.safetensors"]


def test_a_copy_needs_another_domain(domains: list[Domain], imported: RunFolder, settings: Settings) -> None:
    copies = resolve(base=settings, assignments=["meta_train.leave_one_domain_out=1"])
    with pytest.raises(InputError, match=r"one source domain only \(blue\), and --leave-one-domain-out needs two"):
        meta_train(domains[:1], copies, imported, device=CPU, workers=0)


def test_a_model_that_was_trained_here_has_its_copies_already(
    domains: list[Domain], run: RunFolder, settings: Settings
) -> None:
    copies = resolve(base=settings, assignments=["meta_train.leave_one_domain_out=1"])
    with pytest.raises(InputError, match="--leave-one-domain-out is for imported models"):
        check_images(domains, run, copies)


def test_a_folder_of_no_class_is_refused(
    imported: RunFolder, settings: Settings, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder("site", {"light": 2, "drak": 2})
    with pytest.raises(InputError, match="drak") as told:
        check_images(find_domains([folder]), imported, settings)
    assert "'dark'" in told.value.hint


def test_a_finished_run_is_not_trained_again_unasked(
    domains: list[Domain], imported: RunFolder, settings: Settings
) -> None:
    meta_train(domains, settings, imported, device=CPU, workers=0)
    with pytest.raises(InputError, match="has been meta-trained already"):
        meta_train(domains, settings, imported, device=CPU, workers=0)


def test_other_images_are_fine_for_a_new_generator(
    domains: list[Domain], imported: RunFolder, settings: Settings
) -> None:
    meta_train(domains[:2], settings, imported, device=CPU, workers=0)
    meta_train(domains[1:], settings, imported, device=CPU, workers=0, overwrite=True)
    assert list(imported.source().domains) == ["green", "red"]


@pytest.mark.slow
def test_the_same_call_gives_the_same_bundle(domains: list[Domain], imported: RunFolder, settings: Settings) -> None:
    meta_train(domains, settings, imported, device=CPU, workers=0)
    first = imported.bundle.read_bytes()
    meta_train(domains, settings, imported, device=CPU, workers=0, overwrite=True)
    assert imported.bundle.read_bytes() == first


def test_a_source_model_that_was_changed_is_noticed(
    domains: list[Domain], imported: RunFolder, settings: Settings
) -> None:
    changed = weights(imported)
    changed["fc.bias"] = changed["fc.bias"] + 1.0
    imported.save_model(ALL, changed)
    with pytest.raises(WorkError, match="is not the one that was imported"):
        meta_train(domains, settings, imported, device=CPU, workers=0)


def test_layers_without_statistics_are_recorded_on_the_sources(
    domains: list[Domain], settings: Settings, tmp_path: Path
) -> None:
    code = tmp_path / "own.py"
    code.write_text(LAYERS)
    own = resolve(
        base=settings,
        assignments=["backbone.stem=standard", "backbone.width=1"],
        flags={"backbone.name": f"{code}:tiny"},
    )
    run = make_run(tmp_path / "own", own)
    before = load_bundle(run.bundle, own_backbone=f"{code}:tiny").backbone
    assert not before.layers[0].running_mean.any()
    meta_train(domains, own, run, device=CPU, workers=0)
    after = load_bundle(run.bundle, own_backbone=f"{code}:tiny").backbone
    assert after.layers[0].running_mean.any()
    assert same(own_tensors(after.network), own_tensors(before.network))


def test_unrecorded_layers_are_not_mixed(settings: Settings, tmp_path: Path) -> None:
    code = tmp_path / "own.py"
    code.write_text(LAYERS)
    own = resolve(
        base=settings,
        assignments=["backbone.stem=standard", "backbone.width=1"],
        flags={"backbone.name": f"{code}:tiny"},
    )
    run = make_run(tmp_path / "own", own)
    bundle = load_bundle(run.bundle, own_backbone=f"{code}:tiny")
    images = torch.randn(64, 3, 8, 8)
    torch.testing.assert_close(bundle.model(bundle.backbone, images).logits, bundle.backbone(images))


def test_the_models_answers_stand_in_for_labels(domains: list[Domain], imported: RunFolder, settings: Settings) -> None:
    flat = [
        replace(domain, classes=(), files=ImageFiles(file._replace(label=None) for file in domain.files))
        for domain in domains[:1]
    ]
    backbone = load_bundle(imported.bundle).backbone
    how = {"device": CPU, "workers": 0, "pace": Pace(1), "progress": Silent()}
    found = labelled_by(backbone, [*flat, domains[1]], CLASSES, settings, **how)  # type: ignore[arg-type]
    assert found[1] is domains[1]
    assert all(file.label in CLASSES for file in found[0].files)
    meta_train(flat, settings, imported, device=CPU, workers=0)
    labels = [file.label for file in found[0].files]
    assert imported.source().domains["blue"] == {name: labels.count(name) for name in CLASSES}


@pytest.mark.slow
def test_what_was_begun_is_not_begun_again_unasked(
    domains: list[Domain], imported: RunFolder, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = resolve(base=settings, assignments=["meta_train.leave_one_domain_out=1"])

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gformer_cli.train.imported.train_source_models", stop)
        with pytest.raises(KeyboardInterrupt):
            meta_train(domains, copies, imported, device=CPU, workers=0)
    with pytest.raises(InputError, match="has been meta-trained already, or in part"):
        meta_train(domains, copies, imported, device=CPU, workers=0)
    meta_train(domains, copies, imported, device=CPU, workers=0, resume=True)
    assert imported.meta_trained
