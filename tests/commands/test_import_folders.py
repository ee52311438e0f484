"""`gformer import --from`: folders of timm and transformers, whose own code is what the answers are compared with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.bundle import load_bundle
from tests.fixtures.answers import source_logits
from tests.importing.hub_folders import CLASSES, save_timm, save_transformers

Gformer = Callable[..., Any]
TIMM = ("test_resnet", "test_convnext", "test_vit")
TRANSFORMERS = ("ResNet", "ConvNext", "ViT")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six of many sizes, in one folder. Not to be written to."""
    folder, random = tmp_path_factory.mktemp("incoming"), np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(6)]
    for path in paths:
        height, width = (int(side) for side in random.integers(30, 90, 2))
        pixels = random.uniform(0.0, 255.0, 3) + random.normal(0.0, 60.0, (height, width, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return paths


@torch.no_grad()
def timms_logits(folder: Path, paths: list[Path]) -> torch.Tensor:
    """By timm alone, from its folder alone."""
    import timm

    described = json.loads((folder / "config.json").read_text())
    network = timm.create_model(
        described["architecture"], num_classes=3, checkpoint_path=str(folder / "model.safetensors")
    )
    prepare = timm.data.create_transform(
        **timm.data.resolve_data_config({}, pretrained_cfg=described["pretrained_cfg"])
    )
    found: torch.Tensor = network.eval()(torch.stack([prepare(Image.open(path)) for path in paths]))
    return found


@torch.no_grad()
def transformers_logits(folder: Path, paths: list[Path]) -> torch.Tensor:
    """By transformers alone, from its folder alone, with its processor for images of Pillow's."""
    import transformers

    name = "ViTImageProcessor" if "vit" in (folder / "config.json").read_text() else "ConvNextImageProcessor"
    processor = getattr(transformers, f"{name}Pil", getattr(transformers, name)).from_pretrained(folder)
    network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    pixels = processor([Image.open(path) for path in paths], return_tensors="pt")["pixel_values"]
    found: torch.Tensor = network(pixels).logits
    return found


@pytest.mark.parametrize(
    ("library", "name"), [*(("timm", name) for name in TIMM), *(("transformers", name) for name in TRANSFORMERS)]
)
def test_a_folder_says_everything_itself(
    library: str, name: str, images: list[Path], gformer: Gformer, tmp_path: Path, read_csv: Gformer
) -> None:
    pytest.importorskip(library)
    save, theirs = (save_timm, timms_logits) if library == "timm" else (save_transformers, transformers_logits)
    folder = save(tmp_path / "ours", name)
    expected = theirs(folder, images)
    assert expected.std(dim=0).min() > 1e-4
    done = gformer("import", "--from", folder, "--out", tmp_path / "run", "--json")
    assert done.status == 0, done.err
    assert done.json["classes"] == CLASSES
    assert (done.json["origin"]["classes"], done.json["origin"]["transform"]) == ("ours/config.json", "ours")
    shutil.rmtree(folder)  # the bundle needs none of it
    torch.testing.assert_close(
        source_logits(load_bundle(tmp_path / "run" / "model.gformer"), images), expected, atol=1e-5, rtol=0.0
    )
    adapted = gformer("adapt", "--run", tmp_path / "run", "--target", images[0].parent, "--out", tmp_path / "rows.csv")
    assert adapted.status == 0, adapted.err
    answers = [CLASSES[index] for index in expected.argmax(dim=1).tolist()]
    assert [row["source_label"] for row in read_csv(tmp_path / "rows.csv")] == answers


def test_what_is_said_beside_a_folder_wins(images: list[Path], gformer: Gformer, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = save_transformers(tmp_path / "ours", "ResNet", classes=None)
    call = ["import", "--from", folder, "--out", tmp_path / "run", "--json"]
    refused = gformer(*call)
    assert refused.status == 2 and "ours/config.json does not name the classes" in refused.err
    (tmp_path / "named.txt").write_text("north\neast\nwest")
    (tmp_path / "own.json").write_text(json.dumps({"resize": 40, "crop": 32, "mean": 0.5, "std": 0.5}))
    done = gformer(*call, "--classes", tmp_path / "named.txt", "--transform", tmp_path / "own.json")
    assert done.status == 0, done.err
    assert done.json["classes"] == ["north", "east", "west"]
    assert (done.json["preprocessing"]["image_size"], done.json["preprocessing"]["resize_size"]) == (32, 40)


@pytest.mark.parametrize(("option", "value"), [("--backbone", "resnet18"), ("--weights", "site.pth")])
def test_a_folder_and_something_else_that_says_the_same(
    option: str, value: str, gformer: Gformer, tmp_path: Path
) -> None:
    done = gformer("import", "--from", tmp_path, option, value, "--out", tmp_path / "run")
    assert done.status == 2 and f"{option} and --from both say which model is meant" in done.err


def test_a_folder_that_is_none(gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("import", "--from", tmp_path, "--out", tmp_path / "run")
    assert done.status == 2 and "has no config.json" in done.err and not (tmp_path / "run").exists()
    done = gformer("import", "--from", "google/vit-base-patch16-224", "--out", tmp_path / "run")
    assert done.status == 2 and "Nothing is downloaded" in done.err


@pytest.mark.parametrize("kind", ["ViT", "ConvNext"])
def test_meta_train_records_and_leaves_the_model_as_it_is(
    kind: str, images: list[Path], gformer: Gformer, preset: Path, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    folder, run = save_transformers(tmp_path / "ours", kind), tmp_path / "run"
    done = gformer("import", "--from", folder, "--out", run)
    assert done.status == 0 and "it predicts as the model by itself does" in done.out
    before = load_bundle(run / "model.gformer")
    call = ["--source", images[0].parent, "--run", run, "--preset", preset, "--set", "meta_train.constant=false"]
    done = gformer("meta-train", *call, "--steps", "1")
    assert done.status == 0, done.err
    after = load_bundle(run / "model.gformer")
    assert any(bool(layer.running_mean.any()) for layer in after.backbone.layers)
    assert after.header.origin == before.header.origin
    torch.testing.assert_close(source_logits(after, images), source_logits(before, images), atol=0.0, rtol=0.0)
