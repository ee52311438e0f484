"""`gformer import` of networks whose layers keep no statistics: images show them, at the import or to meta-train."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.bundle import load_bundle
from gformer_cli.networks.norms import AdaptiveNorm
from tests.fixtures.answers import source_logits
from tests.importing.hub_folders import save_transformers

pytest.importorskip("transformers")

Gformer = Callable[..., Any]
KINDS = ("ViT", "ConvNext")
CLASSES = ["stripes", "square", "circle"]


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A classifier of shapes, with LayerNorm alone."""
    return save_transformers(tmp_path / "ours", request.param, CLASSES)


@pytest.fixture
def flat(data: Path, tmp_path: Path) -> Path:
    """Source images in one folder, without labels."""
    (tmp_path / "flat").mkdir()
    for number, path in enumerate(sorted((data / "sources").rglob("*.png"))[::3]):
        shutil.copy(path, tmp_path / "flat" / f"{number:02d}.png")
    return tmp_path / "flat"


@pytest.fixture
def target(data: Path, tmp_path: Path) -> list[Path]:
    """Images in the dark, in one folder."""
    (tmp_path / "incoming").mkdir()
    for number, path in enumerate(sorted((data / "targets" / "night").rglob("*.png"))[::3]):
        shutil.copy(path, tmp_path / "incoming" / f"{number:02d}.png")
    return sorted((tmp_path / "incoming").iterdir())


def probabilities(gformer: Gformer, bundle: Path, target: list[Path]) -> torch.Tensor:
    """What adapt answers to `target`, (B, 3)."""
    out = bundle.parent / "rows.csv"
    done = gformer("adapt", "--model", bundle, "--target", target[0].parent, "--out", out, "--probabilities")
    assert done.status == 0, done.err
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return torch.tensor([[float(row[f"probability:{name}"]) for name in CLASSES] for row in rows])


def of_source(bundle: Path, target: list[Path]) -> torch.Tensor:
    return source_logits(load_bundle(bundle), target).softmax(dim=1)


def is_recorded(bundle: Path) -> bool:
    layers = [layer for layer in load_bundle(bundle).backbone.network.modules() if isinstance(layer, AdaptiveNorm)]
    assert layers
    return all(bool(layer.running_mean.any()) for layer in layers)


def test_without_images_it_predicts_as_the_source_model_and_says_so(
    folder: Path, target: list[Path], gformer: Gformer, tmp_path: Path
) -> None:
    done = gformer("import", "--from", folder, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert "LayerNorm layers keep no statistics" in done.err and "--source DIR (no labels needed)" in done.err
    bundle = tmp_path / "run" / "model.gformer"
    assert not is_recorded(bundle)
    torch.testing.assert_close(probabilities(gformer, bundle, target), of_source(bundle, target), atol=1e-5, rtol=0.0)


def test_unlabelled_images_are_enough_to_adapt(
    folder: Path, flat: Path, target: list[Path], gformer: Gformer, tmp_path: Path
) -> None:
    done = gformer("import", "--from", folder, "--source", flat, "--out", tmp_path / "run", "--json")
    assert done.status == 0, done.err
    assert "keep no statistics" not in done.err and done.json["accuracy"] is None
    bundle = tmp_path / "run" / "model.gformer"
    assert is_recorded(bundle)
    assert (probabilities(gformer, bundle, target) - of_source(bundle, target)).abs().max() > 1e-3


def test_meta_train_records_too(
    folder: Path, flat: Path, target: list[Path], preset: Path, gformer: Gformer, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert gformer("import", "--from", folder, "--out", run).status == 0
    before = of_source(run / "model.gformer", target)
    call = ["meta-train", "--source", flat, "--run", run, "--preset", preset, "--set", "meta_train.constant=false"]
    done = gformer(*call, "--steps", "1")
    assert done.status == 0, done.err
    bundle = run / "model.gformer"
    assert is_recorded(bundle)
    assert torch.equal(of_source(bundle, target), before)
    assert (probabilities(gformer, bundle, target) - before).abs().max() > 1e-3
