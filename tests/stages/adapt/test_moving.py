from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gformer_cli.stages.adapt.moving import move, original_name


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"image")
    os.utime(tmp_path / "in" / "a.png", ns=(1, 1_700_000_000_123_456_789))
    return tmp_path / "in" / "a.png"


@pytest.fixture(params=["same disk", "another disk"])
def disks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "same disk":
        return
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.parent != target.parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)


@pytest.mark.usefixtures("disks")
def test_a_file_moves_with_its_time_into_a_new_folder(source: Path, tmp_path: Path) -> None:
    before = source.stat().st_mtime_ns
    place = move(source, tmp_path / "done" / "yard" / "a.png")
    assert place == tmp_path / "done" / "yard" / "a.png"
    assert place.read_bytes() == b"image" and place.stat().st_mtime_ns == before
    assert not source.exists() and list(place.parent.iterdir()) == [place]


@pytest.mark.usefixtures("disks")
def test_nothing_is_replaced(source: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a~1.png"):
        (tmp_path / name).write_bytes(b"other")
    assert move(source, tmp_path / "a.png") == tmp_path / "a~2.png"
    assert [(tmp_path / name).read_bytes() for name in ("a.png", "a~1.png", "a~2.png")] == [
        b"other",
        b"other",
        b"image",
    ]


@pytest.mark.usefixtures("disks")
def test_what_a_kill_left_between_copying_and_removing_is_finished(source: Path, tmp_path: Path) -> None:
    copy = tmp_path / "a.png"
    copy.write_bytes(b"image")
    os.utime(copy, ns=(1, source.stat().st_mtime_ns))
    assert move(source, copy) == copy
    assert not source.exists() and not (tmp_path / "a~1.png").exists()


def test_a_kill_within_the_copy_leaves_no_half_image(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".a.png.part").write_bytes(b"im")

    def rename(self: Path, target: Path) -> Path:
        raise OSError(errno.EXDEV if self == source else errno.EIO, "no")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no"):
        patch.setattr(Path, "rename", rename)
        move(source, tmp_path / "a.png")
    assert source.exists() and not (tmp_path / "a.png").exists()
    assert move(source, tmp_path / "a.png").read_bytes() == b"image"


def test_equal_bytes_of_another_time_are_another_image(source: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    assert move(source, tmp_path / "a.png") == tmp_path / "a~1.png"


@pytest.mark.parametrize("name", ["a.png", "a.tar.gz", "a", "yard/a.b/c", ".hidden"])
def test_the_original_name_of_a_moved_file_is_known(source: Path, tmp_path: Path, name: str) -> None:
    place = tmp_path / "done" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(b"taken")
    moved = move(source, place)
    assert moved != place and original_name(moved.relative_to(tmp_path / "done").as_posix()) == name
    assert original_name(name) == name
