"""`gformer import --generator`: what a model generates with before anything is trained, and changing that later."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.bundle import (
    UNIVERSAL,
    Card,
    build_generator,
    file_hash,
    generator_path,
    load_bundle,
    read_generator,
    read_header,
    save_generator,
)
from gformer_cli.core.backbone import Backbone
from gformer_cli.networks.build import build_network
from gformer_cli.settings import GeneratorSettings
from tests.importing.hub_folders import save_transformers
from tests.weights.ecosystems import owners_network

Gformer = Callable[..., Any]
CLASSES = ("circle", "square", "stripes")
SMALL = GeneratorSettings(width=8, depth=1, heads=2, channel_width=4, probe="forward", prior_count=3.0)


@pytest.fixture
def model(tmp_path: Path) -> list[object]:
    """`gformer import` of a network of the images that the commands' tests share, into `tmp_path/run`."""
    torch.save(owners_network(len(CLASSES)).state_dict(), tmp_path / "site.pth")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "transform.json").write_text(json.dumps({"resize": 16, "mean": 0.5, "std": 0.25}))
    own = ["import", "--backbone", "resnet18", "--set", "backbone.stem=small", "--set", "backbone.width=0.125"]
    own += ["--weights", tmp_path / "site.pth", "--classes", tmp_path / "classes.txt"]
    return [*own, "--transform", tmp_path / "transform.json", "--out", tmp_path / "run"]


@pytest.fixture
def generator_file(tmp_path: Path, perturb: Callable[..., None]) -> Path:
    """A generator that moves what it generates for visibly."""
    backbone = Backbone(build_network("resnet18", 2, stem="small", width=0.125))
    generator = build_generator(SMALL, backbone)
    perturb(generator, 0.3)
    path = tmp_path / "elsewhere.safetensors"
    save_generator(path, generator, SMALL, Card())
    return path


def state(bundle: Path) -> dict[str, torch.Tensor]:
    return load_bundle(bundle).model.generator.state_dict()  # type: ignore[union-attr]


def has_generator_of(bundle: Path, name: Path | str) -> bool:
    settings, wanted = read_generator(name, load_bundle(bundle).backbone)
    found, tensors = state(bundle), wanted.state_dict()
    same = found.keys() == tensors.keys() and all(torch.equal(found[key], tensors[key]) for key in tensors)
    header = read_header(bundle)
    return same and header.generator.settings == settings and header.settings.generator == settings


def test_a_new_import_has_the_universal_one(model: list[object], gformer: Gformer, tmp_path: Path) -> None:
    done = gformer(*model, "--json")
    assert done.status == 0, done.err
    bundle = tmp_path / "run" / "model.gformer"
    assert has_generator_of(bundle, UNIVERSAL)
    lineage = read_header(bundle).lineage
    assert lineage is not None and lineage.parent == file_hash(generator_path(UNIVERSAL))
    assert (done.json["generator"], done.json["generator_sha256"]) == (UNIVERSAL, lineage.parent)
    shown = gformer("inspect", bundle).out
    assert f"universal.safetensors (SHA-256 {lineage.parent})" in shown and "untrained" not in shown
    assert gformer("inspect", bundle, "--parent", generator_path(UNIVERSAL)).status == 0


def test_none_is_untrained_and_adapts_as_bn_mix_does(
    model: list[object], gformer: Gformer, data: Path, tmp_path: Path
) -> None:
    done = gformer(*model, "--generator", "none", "--set", "generator.prior_count=5", "--json")
    assert done.status == 0, done.err
    assert done.json["generator"] is None and done.json["generator_sha256"] is None
    assert read_header(tmp_path / "run" / "model.gformer").generator.settings.prior_count == 5.0
    assert "untrained" in gformer("inspect", "--run", tmp_path / "run").out
    call = ["--run", tmp_path / "run", "--target", data / "targets" / "fog", "--methods", "bn-mix,gformer", "--json"]
    found = {item["method"]: item["targets"] for item in gformer("evaluate", *call).json["summaries"]}
    assert found["gformer"] == found["bn-mix"]


def test_a_setting_that_the_generator_has_fixed_is_refused(model: list[object], gformer: Gformer) -> None:
    done = gformer(*model, "--set", "generator.prior_count=5")
    assert done.status == 2
    assert "--set generator.prior_count has no effect" in done.err and "--generator none" in done.err


def test_a_generator_file_is_taken(
    model: list[object], generator_file: Path, gformer: Gformer, data: Path, tmp_path: Path
) -> None:
    done = gformer(*model, "--generator", generator_file, "--check", data / "targets", "--json")
    assert done.status == 0, done.err
    assert has_generator_of(tmp_path / "run" / "model.gformer", generator_file)
    accuracy = done.json["accuracy"]
    assert set(accuracy["domains"]) == {"fog", "night"}
    for found in accuracy["domains"].values():
        assert 0.0 <= found["adapted"] <= 1.0 and found["images"] == 30
    assert accuracy["adapted"] == pytest.approx(sum(d["adapted"] for d in accuracy["domains"].values()) / 2)


def test_check_measures_the_model_as_adapt_answers(
    model: list[object], generator_file: Path, gformer: Gformer, data: Path, tmp_path: Path, read_csv: Any
) -> None:
    fog, out = data / "targets" / "fog", tmp_path / "rows.csv"
    done = gformer(*model, "--generator", generator_file, "--check", fog)
    assert done.status == 0, done.err
    call = ["--run", tmp_path / "run", "--target", fog, "--batch-size", "32", "--guard", "off", "--out", out]
    assert gformer("adapt", *call).status == 0
    rows = read_csv(out)
    right = sum(Path(row["path"]).parent.name == row["label"] for row in rows)
    (line,) = [line.split() for line in done.out.splitlines() if line.startswith("fog")]
    assert line[1] == "30" and line[3] == f"{100 * right / 30:.1f}"


class TestOnARun:
    """`gformer import --run RUN --generator`, where RUN holds a model already."""

    def test_a_run_of_pretrain_gets_a_bundle_without_any_training(
        self, pretrained: Path, gformer: Gformer, data: Path, tmp_path: Path
    ) -> None:
        before = (pretrained / "models" / "all.safetensors").read_bytes()
        done = gformer("import", "--run", pretrained)
        assert done.status == 0, done.err
        bundle, source = pretrained / "model.gformer", json.loads((pretrained / "source.json").read_text())
        header = read_header(bundle)
        assert has_generator_of(bundle, UNIVERSAL)
        assert header.classes == source["classes"]
        known = ("domains", "fingerprint", "validation_accuracy")
        assert all(getattr(header.data, name) == source[name] for name in known)
        assert header.origin is None and header.lineage is not None and header.lineage.stage == "import"
        assert (pretrained / "models" / "all.safetensors").read_bytes() == before
        assert f"Next: gformer adapt --target DIR --run {pretrained}" in done.out
        out = tmp_path / "rows.csv"
        assert gformer("adapt", "--run", pretrained, "--target", data / "targets" / "fog", "--out", out).status == 0
        assert len(out.read_text().splitlines()) == 31

    def test_a_bundle_is_replaced_when_that_is_said(
        self, pretrained: Path, generator_file: Path, gformer: Gformer
    ) -> None:
        assert gformer("import", "--run", pretrained, "--generator", generator_file).status == 0
        refused = gformer("import", "--run", pretrained, "--generator", "none")
        assert refused.status == 2 and "model.gformer is there already" in refused.err and "--overwrite" in refused.err
        assert has_generator_of(pretrained / "model.gformer", generator_file)
        assert gformer("import", "--run", pretrained, "--generator", "none", "--overwrite").status == 0
        lineage = read_header(pretrained / "model.gformer").lineage
        assert lineage is not None and lineage.parent is None

    def test_it_is_none_that_was_meta_trained(self, pretrained: Path, gformer: Gformer, data: Path) -> None:
        assert gformer("import", "--run", pretrained).status == 0
        options = ["--set", "meta_train.constant=false", "--steps", "1"]
        done = gformer("meta-train", "--source", data / "sources", "--run", pretrained, *options)
        assert done.status == 0, done.err
        again = gformer("meta-train", "--source", data / "sources", "--run", pretrained, *options)
        assert again.status == 2 and "has been meta-trained already" in again.err

    def test_an_imported_run_exchanges_its_generator(
        self, model: list[object], generator_file: Path, gformer: Gformer, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        assert gformer(*model).status == 0
        before = read_header(run / "model.gformer")
        call = ["import", "--run", run, "--generator", generator_file, "--overwrite"]
        assert gformer(*call).status == 0
        after = read_header(run / "model.gformer")
        assert has_generator_of(run / "model.gformer", generator_file)
        kept = ("classes", "origin", "class_map", "preprocessing", "backbone", "data")
        assert all(getattr(after, name) == getattr(before, name) for name in kept)
        assert after.part_hashes["backbone"] == before.part_hashes["backbone"]

    def test_it_is_measured_as_a_new_one_is(self, pretrained: Path, gformer: Gformer, data: Path) -> None:
        call = ["import", "--run", pretrained, "--check", data / "targets" / "fog"]
        refused = gformer(*call, "--expect", "0")
        assert refused.status == 1 and "--expect says 0" in refused.err
        assert not (pretrained / "model.gformer").exists()
        done = gformer(*call, "--json")
        assert done.status == 0, done.err
        assert done.json["accuracy"]["images"] == 30 and "adapted" in done.json["accuracy"]

    def test_a_dry_run_touches_nothing(self, pretrained: Path, gformer: Gformer, contents: Any) -> None:
        before = contents(pretrained)
        done = gformer("import", "--run", pretrained, "--dry-run", "--json")
        assert done.status == 0, done.err
        assert done.json["outputs"] == [str(pretrained / "model.gformer")] and done.json["generator"] == UNIVERSAL
        assert contents(pretrained) == before

    @pytest.mark.parametrize(
        "more",
        [
            ["--classes", "x"],
            ["--transform", "torchvision"],
            ["--image-size", "32"],
            ["--weights-key", "model"],
            ["--class-map", "x"],
            ["--set", "seed=1"],
        ],
    )
    def test_what_says_what_a_model_is_is_refused(self, more: list[str], pretrained: Path, gformer: Gformer) -> None:
        done = gformer("import", "--run", pretrained, *more)
        assert done.status == 2
        assert f"{more[0]} says what a new model is" in done.err and "--weights FILE" in done.err
        assert not (pretrained / "model.gformer").exists()

    def test_a_run_that_is_not_finished_is_refused(self, pretrained: Path, gformer: Gformer) -> None:
        (pretrained / "source.json").unlink()
        done = gformer("import", "--run", pretrained)
        assert done.status == 2 and "is not a finished run" in done.err

    def test_a_generator_that_is_none_is_refused(self, pretrained: Path, gformer: Gformer, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("nothing")
        for name in (tmp_path / "x", tmp_path / "gone"):
            done = gformer("import", "--run", pretrained, "--generator", name)
            assert done.status == 2 and f"generator file: {name}" in done.err and "universal" in done.err
        assert not (pretrained / "model.gformer").exists()


class TestWithoutStatistics:
    """Layers that normalise each image by itself have no statistics of the source before images show them some."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        pytest.importorskip("transformers")
        return save_transformers(tmp_path / "ours", "ViT", list(CLASSES))

    def test_the_universal_one_waits_for_images(
        self, folder: Path, gformer: Gformer, data: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        done = gformer("import", "--from", folder, "--out", run, "--json")
        assert done.status == 0, done.err
        assert done.json["generator"] is None and "keep no statistics" in done.err
        told = gformer("import", "--from", folder, "--out", tmp_path / "other").out
        assert f"Recommended first: gformer import --source DIR --overwrite --run {tmp_path / 'other'}" in told
        shown = gformer("import", "--run", run, "--source", data / "sources", "--overwrite", "--json")
        assert shown.status == 0, shown.err
        assert shown.json["generator"] == UNIVERSAL and "keep no statistics" not in shown.err
        assert has_generator_of(run / "model.gformer", UNIVERSAL)
        layers = load_bundle(run / "model.gformer").backbone.layers
        assert all(bool(layer.running_mean.any()) for layer in layers)
        again = gformer("import", "--run", run, "--generator", "none", "--overwrite")  # the run has kept them
        assert again.status == 0 and "keep no statistics" not in again.err
        assert read_header(run / "model.gformer").generator.settings.prior_count < 1e6

    def test_one_that_is_named_is_taken_and_mixes_nothing_in(
        self, folder: Path, gformer: Gformer, generator_file: Path, tmp_path: Path
    ) -> None:
        done = gformer("import", "--from", folder, "--out", tmp_path / "run", "--generator", generator_file)
        assert done.status == 0, done.err
        assert "goes by a guess" in done.err
        header = read_header(tmp_path / "run" / "model.gformer")
        assert header.generator.settings == SMALL.model_copy(update={"prior_count": 1e9})
