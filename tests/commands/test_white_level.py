"""Images of more than 8 bits through the commands: what is white is found, said, kept in the bundle, and the user's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gformer_cli.bundle import load_bundle, read_header
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.preprocessing import Decoded, read_image

Gformer = Callable[..., Any]
ReadCsv = Callable[[Path], list[dict[str, str]]]


def deepen(folder: Path, white: float) -> None:
    """Every image below as 16-bit grey in which this sample is white."""
    for path in folder.rglob("*.png"):
        grey = np.asarray(Image.open(path).convert("L"), dtype=np.float64) / 255
        Image.fromarray((grey * white).round().astype(np.uint16)).save(path)


@pytest.fixture(scope="module")
def deep(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images of `data` as a 12-bit camera writes them. Not to be written to."""
    folder = Path(shutil.copytree(data, tmp_path_factory.mktemp("deep") / "data"))
    deepen(folder, 4095)
    return folder


@pytest.fixture
def train(gformer: Gformer, deep: Path, preset: Path, tmp_path: Path) -> Callable[..., tuple[Path, str]]:
    """`train(*options)`: the bundle of a run on the deep images, and what was said."""

    def call(*options: str) -> tuple[Path, str]:
        run, sources = tmp_path / "trained", ("--source", deep / "sources")
        fixed = ("--preset", preset, "--no-leave-one-out")
        first = gformer("pretrain", *sources, "--out", run, *fixed, *options)
        second = gformer("meta-train", *sources, "--run", run, "--set", "meta_train.constant=false")
        assert (first.status, second.status) == (0, 0), first.err + second.err
        return run / "model.gformer", first.err

    return call


def pixels(bundle: Path, path: Path, white_level: float | None = None) -> int:
    """The brightest sample of an image that is read alone, as a watcher does."""
    item = read_image(ImageFile(path.parent, path.name), load_bundle(bundle, white_level=white_level).preprocessing)
    assert isinstance(item, Decoded)
    return int(item.pixels.max())


@pytest.mark.slow
def test_what_training_found_is_kept_and_used_image_by_image(
    train: Callable[..., tuple[Path, str]], gformer: Gformer, deep: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    bundle, said = train()
    assert "integer samples of more than 8 bits: white is 4095; data.white_level sets another" in said
    assert read_header(bundle).levels == {"integer": (0.0, 4095.0)}
    shown = [line.split() for line in gformer("inspect", bundle).out.splitlines()]
    assert ["white", "level", "4095", "in", "integer", "samples"] in shown
    image = deep / "targets" / "fog" / "circle" / "00.png"
    shallow = np.asarray(Image.open(image)).max() / 4095 * 255
    assert abs(pixels(bundle, image) - shallow) <= 1
    same = ("--model", bundle, "--batch-size", 1, "--guard", "off")
    done = gformer("adapt", *same, "--target", deep / "targets" / "night", "--out", tmp_path / "a.csv", "--json")
    assert done.json["levels"] == {"night": {"integer": [0.0, 4095.0]}}
    assert "white is 4095 as in training; --white-level sets another" in done.err
    flat = tmp_path / "incoming"
    shutil.copytree(deep / "targets" / "night", flat)
    done = gformer("watch", flat, *same, "--out", tmp_path / "b.csv", "--settle", 0, "--until-idle", 0, "--max-wait", 0)
    assert done.status == 0 and done.err.count("white is 4095 as in training") == 1
    found = [{row["path"]: row["confidence"] for row in read_csv(tmp_path / name)} for name in ("a.csv", "b.csv")]
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_users_setting_is_kept_in_the_bundle(train: Callable[..., tuple[Path, str]], deep: Path) -> None:
    bundle, said = train("--set", "data.white_level=8190")
    assert "white is" not in said
    assert read_header(bundle).preprocessing.white_level == 8190
    image = deep / "targets" / "fog" / "circle" / "00.png"
    assert abs(pixels(bundle, image) - np.asarray(Image.open(image)).max() / 8190 * 255) <= 1
    assert abs(pixels(bundle, image, 4095) - np.asarray(Image.open(image)).max() / 4095 * 255) <= 1


def test_a_bundle_of_8_bit_images_reads_a_deep_target_by_its_folder_or_as_the_user_says(
    gformer: Gformer, bundle: Path, deep: Path, data: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    def predicted(*options: object, target: str = "fog", source: Path = deep) -> tuple[list[str], str]:
        out = tmp_path / "a.csv"
        fixed = ("--model", bundle, "--target", source / "targets" / target, "--out", out, "--guard", "off")
        done = gformer("adapt", *fixed, "--overwrite", *options)
        assert done.status == 0, done.err
        return [row["source_label"] + row["confidence"] for row in read_csv(out)], done.err

    found, said = predicted()
    assert "white is 4095; --white-level sets another" in said
    stated, quiet = predicted("--white-level", 4095)
    assert stated == found and "white" not in quiet
    assert predicted("--white-level", 65535)[0] != found
    assert "white" not in predicted(source=data)[1]


def test_evaluate_freeze_and_replay_take_the_same_level(
    gformer: Gformer, bundle: Path, deep: Path, tmp_path: Path
) -> None:
    fog = ("--model", bundle, "--target", deep / "targets" / "fog")
    methods = ("--methods", "source", "--json")
    found = gformer("evaluate", *fog, *methods)
    assert "white is 4095; --white-level sets another" in found.err
    assert "white is" not in gformer("evaluate", *fog, *methods, "--white-level", 4095).err
    for name, options in (("found", ()), ("stated", ("--white-level", 2000))):
        static = tmp_path / f"{name}.gformer"
        assert gformer("freeze", *fog, "-o", static, *options).status == 0
        header = read_header(static)
        assert header.levels == ({"integer": (0.0, 4095.0)} if name == "found" else {})
        assert header.preprocessing.white_level == (None if name == "found" else 2000)
        log = tmp_path / f"{name}.jsonl"
        assert gformer("adapt", *fog, "--out", tmp_path / f"{name}.csv", "--audit", log, *options).status == 0
        logged = json.loads(log.read_text().splitlines()[0])["settings"]
        assert logged.get("white_level") == (None if name == "found" else 2000)
        replayed = gformer("audit", log, "--replay", *fog, "--json")
        assert replayed.status == 0 and replayed.json["largest_difference"] == 0


def test_check_says_what_is_white_and_warns(gformer: Gformer, deep: Path) -> None:
    done = gformer("data", "check", deep / "targets")
    assert done.status == 0
    assert "Images with integer samples of more than 8 bits: white is 4095" in done.out and "Warnings" not in done.out
    done = gformer("data", "check", deep / "targets", "--white-level", "1e7")
    assert done.status == 0 and "60 images that are nearly black" in done.out
    found = gformer("data", "check", deep / "targets", "--white-level", "1e7", "--json").json
    assert len(found["nearly_black"]) == 60 and found["nearly_white"] == []


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "white"])
def test_a_level_that_is_none_is_refused(gformer: Gformer, deep: Path, value: str) -> None:
    done = gformer("data", "check", deep / "targets", "--white-level", value)
    assert done.status == 2 and "is not a number above 0, such as 4095" in done.err
    done = gformer(
        "pretrain", "--source", deep / "sources", "--out", "x", "--dry-run", "--set", f"data.white_level={value}"
    )
    assert done.status == 2 and "data.white_level" in done.err
