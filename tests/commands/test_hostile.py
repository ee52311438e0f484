"""Folders and bundles that were made to do harm, or happen to, through the real commands."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gformer_cli.commands import targets as command

Gformer = Callable[..., Any]
Adapt = Callable[..., Any]
ReadCsv = Callable[[Path], list[dict[str, str]]]


@pytest.fixture
def target(data: Path, tmp_path: Path) -> Path:
    """A flat folder of six images."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    for number in range(6):
        shutil.copy(data / "targets" / "fog" / "circle" / f"{number:02d}.png", folder / f"{number}.png")
    return folder


@pytest.fixture
def adapt(gformer: Gformer, bundle: Path, target: Path) -> Adapt:
    """`adapt(out, *options)` on `target`."""

    def call(out: Path, *options: object) -> Any:
        return gformer("adapt", "--model", bundle, "--target", target, "--out", out, *options)

    return call


def bomb(path: Path, size: int) -> None:
    """A PNG that says it is `size` pixels wide and high."""
    Image.new("RGB", (1, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = size.to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.filterwarnings("error")
def test_every_hostile_file_is_skipped_with_its_reason_and_the_others_are_predicted(
    adapt: Adapt, target: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    (target / "empty.png").touch()
    (target / "text.jpg").write_text("no image")
    (target / "cut.png").write_bytes((target / "0.png").read_bytes()[:-40])
    os.mkfifo(target / "pipe.png")
    (target / "loop.png").symlink_to("loop.png")
    (target / "gone.png").symlink_to("nowhere")
    (target / "device.png").symlink_to("/dev/zero")
    (target / "sparse.png").touch()
    os.truncate(target / "sparse.png", 1 << 40)
    bomb(target / "bomb.png", 20_000)
    bomb(target / "huge.png", 60_000)
    (target / "again").symlink_to(target, target_is_directory=True)
    shutil.copy(target / "0.png", target / "wrong suffix.gif")
    done = adapt(tmp_path / "a.csv", "--json")
    assert done.status == 0, done.err
    assert {item["path"]: item["reason"] for item in done.json["skipped"]} == {
        "bomb.png": "20000 x 20000 is more than 200 million pixels",
        "cut.png": "image file is truncated",
        "device.png": "not a regular file",
        "empty.png": "the file is empty",
        "gone.png": "No such file or directory",
        "huge.png": "more than 200 million pixels",
        "loop.png": "Too many levels of symbolic links",
        "pipe.png": "not a regular file",
        "sparse.png": "the file is larger than 2 GiB",
        "text.jpg": "not an image that Pillow can read",
    }
    assert [row["path"] for row in read_csv(tmp_path / "a.csv")] == [f"{n}.png" for n in range(6)] + [
        "wrong suffix.gif"
    ]


def vanish(target: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """`act` once the folder is listed and before anything is read."""
    original = command.find_images

    def listed(*args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        act()
        return found

    monkeypatch.setattr(command, "find_images", listed)


def test_a_file_that_vanishes_is_skipped(
    adapt: Adapt, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vanish(target, monkeypatch, (target / "3.png").unlink)
    done = adapt(tmp_path / "a.csv", "--json")
    assert (done.status, done.json["images"]) == (0, 5)
    assert done.json["skipped"] == [{"path": "3.png", "reason": "No such file or directory"}]


def test_a_folder_that_vanishes_is_a_failure_with_the_reason(
    adapt: Adapt, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vanish(target, monkeypatch, lambda: shutil.rmtree(target))
    done = adapt(tmp_path / "a.csv")
    assert done.status == 1 and not (tmp_path / "a.csv").exists()
    assert "error: no readable image: 6 skipped, such as 0.png (No such file or directory)" in done.err


def test_a_folder_that_becomes_unreadable_is_a_failure_with_the_reason(
    adapt: Adapt, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated: root may read everything."""
    original = os.open

    def refuse(path: Any, *args: Any, **kwargs: Any) -> int:
        if str(path).startswith(str(target)):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    done = adapt(tmp_path / "a.csv")
    assert done.status == 1 and not (tmp_path / "a.csv").exists()
    assert "error: no readable image: 6 skipped, such as 0.png (Permission denied)" in done.err


@pytest.fixture
def small_disk() -> Iterator[Callable[[int], None]]:
    """Once called, the system refuses to let any file grow over so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.filterwarnings("error")  # nor is anything told beside the error
@pytest.mark.parametrize(("name", "most"), [("a.csv", 100), ("a.jsonl", 100), ("a.jsonl", 600)])
def test_a_disk_that_fills_keeps_the_old_predictions_and_no_half_ones(
    adapt: Adapt, target: Path, tmp_path: Path, small_disk: Callable[[int], None], name: str, most: int
) -> None:
    """At first while rows are kept, at last as they are written, with the names of their fields."""
    (tmp_path / name).write_text("the old ones")
    small_disk(most)
    done = adapt(tmp_path / name, "--overwrite", "--quiet")
    assert done.status == 1
    what = f"keep rows in {tmp_path}" if most == 100 else f"write {tmp_path / name}"
    assert done.err.startswith(f"error: cannot {what}: File too large")
    assert (tmp_path / name).read_text() == "the old ones"
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "incoming"]


def test_names_cannot_break_an_error_or_the_terminal(adapt: Adapt, target: Path, tmp_path: Path) -> None:
    (target / "a\n\x1b[2Jerror: all is well.png").touch()
    done = adapt(tmp_path / "a.csv", "--strict", "--quiet")
    assert done.status == 2 and "\x1b" not in done.err
    assert done.err.splitlines()[0].startswith("error: unreadable image: a\\n\\x1b[2Jerror: all is well.png")
    assert len(done.err.splitlines()) == 2


def test_formulas_are_written_as_they_are_and_can_be_read_back(
    adapt: Adapt, target: Path, tmp_path: Path, read_csv: ReadCsv
) -> None:
    """See docs/reference/input.md: the file is data for programs; a changed name would be another file's."""
    names = ["=cmd|' C'!A0.png", "+1.png", "-1.png", "@SUM(1).png", "\tx.png", '"=1".png']
    for path, name in zip(sorted(target.iterdir()), names, strict=True):
        path.rename(target / name)
    assert adapt(tmp_path / "a.csv").status == 0
    assert sorted(row["path"] for row in read_csv(tmp_path / "a.csv")) == sorted(names)


def test_a_bundle_cannot_write_to_the_terminal(gformer: Gformer, bundle: Path, tmp_path: Path) -> None:
    with safe_open(bundle, framework="pt") as file:
        header = json.loads(file.metadata()["gformer"])
    header["classes"][0] = "\x1b[2J\x1b]0;owned\x07"
    header["versions"]["torch"] = "\x1b[31m"
    save_file(load_file(bundle), tmp_path / "b.gformer", metadata={"gformer": json.dumps(header)})
    shown = gformer("inspect", tmp_path / "b.gformer")
    assert shown.status == 0 and "\\x1b[2J" in shown.out
    assert "\x1b" not in shown.out + shown.err
    header["backbone"]["name"] = "\x1b[2J"
    save_file(load_file(bundle), tmp_path / "b.gformer", metadata={"gformer": json.dumps(header)})
    refused = gformer("adapt", "--model", tmp_path / "b.gformer", "--target", tmp_path, "--out", tmp_path / "a.csv")
    assert refused.status == 2 and "\x1b" not in refused.err
