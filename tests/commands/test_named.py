"""Commands on images that are named in a table or lie in shards, and with a cache of decoded images."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.images import preprocessing

Gformer = Callable[..., Any]
ALL = "models/all.safetensors"


def images(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


@pytest.fixture
def make_table(tmp_path: Path) -> Callable[..., Path]:
    """`make_table(folder)`: a table of a root of domains, at another place."""

    def make(folder: Path, columns: tuple[str, ...] = ("path", "class", "domain")) -> Path:
        path = tmp_path / f"{folder.name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            for image in images(folder):
                domain, label, _ = image.relative_to(folder).parts
                writer.writerow({"path": image, "class": label, "domain": domain})
        return path

    return make


@pytest.fixture
def shards(data: Path, tmp_path: Path) -> Path:
    """The sources in two shards."""
    found = images(data / "sources")
    for number, part in enumerate((found[:40], found[40:])):
        with tarfile.open(tmp_path / f"plant-{number}.tar", "w") as archive:
            for image in part:
                domain, label, _ = image.relative_to(data / "sources").parts
                name = str(image.relative_to(data / "sources"))
                told = json.dumps({"class": label, "domain": domain}).encode()
                for member, content in ((name, image.read_bytes()), (name.replace(".png", ".json"), told)):
                    header = tarfile.TarInfo(member)
                    header.size = len(content)
                    archive.addfile(header, io.BytesIO(content))
    return tmp_path / "plant-{0..1}.tar"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "shards"])
def test_what_is_trained_is_the_same_as_of_folders(
    gformer: Gformer,
    make_table: Callable[..., Path],
    shards: Path,
    data: Path,
    preset: Path,
    finished_pretrain: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    source = make_table(data / "sources") if kind == "table" else shards
    done = gformer("pretrain", "--source", source, "--run", tmp_path / "run", "--preset", preset)
    assert done.status == 0, done.err
    assert "read as 3 domains (dawn, dusk, noon) of 3 classes" in done.err
    for name in (ALL, "models/without-dawn.safetensors", "source.json", "images.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished_pretrain / name).read_bytes()
    assert gformer("meta-train", "--source", source, "--run", tmp_path / "run", "--steps", 1).status == 0


def test_targets_in_a_table_are_those_of_folders(
    gformer: Gformer, make_table: Callable[..., Path], data: Path, bundle: Path, tmp_path: Path, read_csv: Any
) -> None:
    table, targets = make_table(data / "targets"), data / "targets"
    rows = []
    for target, name in ((targets, "folders"), (table, "table")):
        out = tmp_path / f"{name}.csv"
        assert gformer("adapt", "--target", target, "--model", bundle, "--out", out).status == 0
        rows.append([row["label"] for row in read_csv(out)])
        measured = gformer("evaluate", "--target", target, "--model", bundle, "--methods", "source", "--json")
        assert measured.status == 0, measured.err
        rows[-1].append(json.dumps([cell["accuracy"] for cell in measured.json["cells"]]))
    assert rows[0] == rows[1] and len(rows[0]) == 61
    unlabelled = make_table(data / "targets", ("path",))
    assert gformer("adapt", "--target", unlabelled, "--model", bundle, "--out", tmp_path / "u.csv").status == 0
    refused = gformer("evaluate", "--target", unlabelled, "--model", bundle)
    assert refused.status == 2 and "has no column 'class'; it has: path" in refused.err


def test_columns_of_other_names_and_lists_are_those_of_folders(
    gformer: Gformer, data: Path, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "targets"
    folder.symlink_to(data / "targets")
    rows, lines = ["file,kind,site"], []
    for image in images(folder):
        domain, label, name = image.relative_to(folder).parts
        rows.append(f"{domain}/{label}/{name},{label},{domain}")
        lines.append(f"{domain}/{label}/{name} {['circle', 'square', 'stripes'].index(label)}")
    table, listed = tmp_path / "plant.csv", folder.parent / "plant_test.txt"
    table.write_text("\n".join(rows))
    listed.write_text("\n".join(lines))
    accuracies = []
    for target in (
        folder,
        f"{table}:path=targets/{{file}},class=kind,domain=site",
        f"{listed}:path=targets/{{path}}",
    ):
        measured = gformer("evaluate", "--target", target, "--model", bundle, "--methods", "source", "--json")
        assert measured.status == 0, measured.err
        accuracies.append([(cell["target"], cell["accuracy"]) for cell in measured.json["cells"]])
    assert accuracies[0] == accuracies[1] == accuracies[2] and len(accuracies[0]) == 2
    wrong = gformer("evaluate", "--target", f"{table}:kind", "--model", bundle)
    assert wrong.status == 2 and "'kind' names no column" in wrong.err


def test_files_that_a_list_names_and_that_are_not_there_are_told(gformer: Gformer, data: Path, tmp_path: Path) -> None:
    listed = tmp_path / "shots.txt"
    there = [f"{path} {number}" for number, path in enumerate(images(data / "sources")[::10][:2])]
    listed.write_text("\n".join([*there, "gone.png 1"]))
    done = gformer("pretrain", "--source", listed, "--no-leave-one-out", "--run", tmp_path / "run", "--dry-run")
    assert done.status == 0 and f"1 file that is listed and not there:\n  {tmp_path / 'gone.png'}" in done.err
    strict = gformer("pretrain", "--source", listed, "--run", tmp_path / "run", "--dry-run", "--strict")
    assert strict.status == 2 and f"no such file: {tmp_path / 'gone.png'}" in strict.err


def test_images_that_are_held_out_are_known_by_the_table(
    gformer: Gformer, data: Path, preset: Path, tmp_path: Path
) -> None:
    table = tmp_path / "plant.csv"
    rows = ["path,class,domain,split"]
    for image in images(data / "sources"):
        domain, label, name = image.relative_to(data / "sources").parts
        split = "validation" if name == "03.png" else "test" if name == "07.png" else "train"
        rows.append(f"{image},{label},{domain},{split}")
    table.write_text("\n".join(rows))
    done = gformer("pretrain", "--source", table, "--run", tmp_path / "run", "--preset", preset, "--no-leave-one-out")
    assert done.status == 0 and "9 images are left out: of another split than train and validation" in done.err
    counts = json.loads((tmp_path / "run" / "source.json").read_text())["domains"]
    assert counts["dawn"] == {"circle": 9, "square": 9, "stripes": 9}


@pytest.mark.slow
def test_with_a_cache_nothing_is_decoded_twice_and_the_models_are_the_same(
    gformer: Gformer, data: Path, preset: Path, finished_pretrain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["--source", data / "sources", "--preset", preset, "--no-leave-one-out"]
    cache = ["--cache", tmp_path / "cache"]
    assert gformer("pretrain", *own, "--run", tmp_path / "dry", *cache, "--dry-run").status == 0
    assert not (tmp_path / "cache").exists()
    assert gformer("pretrain", *own, "--run", tmp_path / "first", *cache).status == 0
    monkeypatch.setattr(preprocessing, "pixels_of", None)
    assert gformer("pretrain", *own, "--run", tmp_path / "again", *cache, "--cache-size", "0.5").status == 0
    monkeypatch.setenv("GFORMER_CACHE", str(tmp_path / "cache"))
    assert gformer("meta-train", "--source", data / "sources", "--run", tmp_path / "again", "--steps", 1).status == 0
    for name in ("first", "again"):
        assert (tmp_path / name / ALL).read_bytes() == (finished_pretrain / ALL).read_bytes()


def test_a_cache_that_cannot_be_is_told(gformer: Gformer, data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for options, told in (
        (["--cache-size", "5"], "--cache-size has no effect without --cache"),
        (["--cache", tmp_path / "file"], "is a file, not a folder"),
    ):
        done = gformer("pretrain", "--source", data / "sources", "--run", tmp_path / "run", *options)
        assert done.status == 2 and told in done.err
