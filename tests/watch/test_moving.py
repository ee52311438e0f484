from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from gformer_cli.watch import moving
from gformer_cli.watch.ledger import Stamp
from gformer_cli.watch.moving import Changed, move, original_name

TIME = 1_700_000_000_123_456_789
STAMP = Stamp(5, TIME)


def put(path: Path, content: bytes = b"image") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(1, TIME))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return put(tmp_path / "in" / "a.png").parent


@pytest.fixture(params=["same disk", "another disk"])
def disks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "same disk":
        return

    def rename(source: object, target: object, **_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(Path, "rename", lambda self, target: self.replace(target))


@pytest.fixture(params=["folders by descriptor", "folders by path"])
def systems(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "folders by path":
        monkeypatch.setattr(moving, "_ATOMIC", False)


@pytest.mark.usefixtures("disks", "systems")
def test_a_file_moves_with_its_time_into_a_new_folder(root: Path, tmp_path: Path) -> None:
    put(root / "yard" / "b.png").chmod(0o640)
    place = move(root, "yard/b.png", tmp_path / "done", STAMP)
    assert place == tmp_path / "done" / "yard" / "b.png"
    assert place.read_bytes() == b"image" and place.stat().st_mtime_ns == TIME
    assert place.stat().st_mode & 0o777 == 0o640
    assert not (root / "yard" / "b.png").exists() and list(place.parent.iterdir()) == [place]


@pytest.mark.usefixtures("disks", "systems")
def test_nothing_is_replaced(root: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a~1.png"):
        (tmp_path / name).write_bytes(b"other")
    assert move(root, "a.png", tmp_path, STAMP) == tmp_path / "a~2.png"
    assert [(tmp_path / name).read_bytes() for name in ("a.png", "a~1.png", "a~2.png")] == [
        b"other",
        b"other",
        b"image",
    ]


@pytest.mark.usefixtures("disks")
def test_what_a_kill_left_between_copying_and_removing_is_finished(root: Path, tmp_path: Path) -> None:
    copy = put(tmp_path / "a.png")
    assert move(root, "a.png", tmp_path, STAMP) == copy
    assert not (root / "a.png").exists() and not (tmp_path / "a~1.png").exists()


def test_a_copy_that_fails_leaves_the_image_and_no_half_of_another(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".a.png.part").write_bytes(b"im")

    def rename(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "no")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "rename", rename)
        patch.setattr(shutil, "copyfileobj", full)
        move(root, "a.png", tmp_path, STAMP)
    assert (root / "a.png").exists() and [path.name for path in tmp_path.iterdir()] == ["in"]
    assert move(root, "a.png", tmp_path, STAMP).read_bytes() == b"image"


def test_equal_bytes_of_another_time_are_another_image(root: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    assert move(root, "a.png", tmp_path, STAMP) == tmp_path / "a~1.png"


@pytest.mark.usefixtures("systems")
def test_what_lies_behind_a_link_stays(root: Path, tmp_path: Path) -> None:
    other = put(tmp_path / "other" / "deep" / "secret.png")
    (root / "link").symlink_to(tmp_path / "other")
    (root / "yard").mkdir()
    (root / "yard" / "link").symlink_to("../../other/deep")
    for relative in ("link/deep/secret.png", "yard/link/secret.png"):
        with pytest.raises(OSError, match="in a linked folder"):
            move(root, relative, tmp_path / "done", STAMP)
    assert other.exists() and not (tmp_path / "done").exists()


def test_the_watched_folder_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "watched").symlink_to("in")
    assert move(tmp_path / "watched", "a.png", tmp_path / "done", STAMP).exists()


def test_a_folder_that_becomes_a_link_on_the_way_moves_nothing_of_where_it_leads(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is swapped after it was opened: what is in the opened one is moved, not what lies behind the link."""
    other = put(tmp_path / "other" / "b.png")
    put(root / "yard" / "b.png")
    real = os.stat

    def swap(path: object, *arguments: object, **options: object) -> os.stat_result:
        if path == "b.png" and not (root / "yard").is_symlink():
            (root / "yard").rename(tmp_path / "aside")
            (root / "yard").symlink_to(tmp_path / "other")
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", swap)
    move(root, "yard/b.png", tmp_path / "done", STAMP)
    assert other.exists() and list((tmp_path / "aside").iterdir()) == []


@pytest.mark.parametrize("target", ["../other/b.png", "{}/other/b.png", "../other/link.png"])
@pytest.mark.usefixtures("systems")
def test_a_link_is_moved_as_a_link_and_leads_to_the_same_file(root: Path, tmp_path: Path, target: str) -> None:
    other = put(tmp_path / "other" / "b.png")
    (tmp_path / "other" / "link.png").symlink_to("b.png")
    for _ in range(2):  # the second time as after a kill
        (root / "link.png").symlink_to(target.format(tmp_path))
        place = move(root, "link.png", tmp_path / "done" / "deep", STAMP)
        assert place == tmp_path / "done" / "deep" / "link.png"
        assert place.is_symlink() and place.samefile(other)
        assert other.exists() and not (root / "link.png").is_symlink()


def test_a_link_into_the_same_folder_stays_because_its_file_moves(root: Path, tmp_path: Path) -> None:
    (root / "link.png").symlink_to("a.png")
    with pytest.raises(OSError, match="a link to an image of the same folder"):
        move(root, "link.png", tmp_path / "done", STAMP)
    assert (root / "link.png").is_symlink()


def test_a_new_image_under_the_name_of_a_predicted_one_stays(root: Path, tmp_path: Path) -> None:
    put(root / "a.png", b"new image")
    with pytest.raises(Changed):
        move(root, "a.png", tmp_path / "done", STAMP)
    assert (root / "a.png").read_bytes() == b"new image"


@pytest.mark.usefixtures("disks")
def test_one_that_comes_at_the_last_moment_stays_as_well(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.path.lexists

    def come(path: object) -> bool:
        put(root / "new.png", b"other").replace(root / "a.png")  # the same size and time
        return real(path)  # type: ignore[arg-type]

    monkeypatch.setattr(os.path, "lexists", come)
    with pytest.raises(Changed):
        move(root, "a.png", tmp_path / "done", STAMP)
    assert (root / "a.png").read_bytes() == b"other" and list((tmp_path / "done").iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a.tar.gz", "a", "yard/a.b/c", ".hidden"])
def test_the_original_name_of_a_moved_file_is_known(root: Path, tmp_path: Path, name: str) -> None:
    put(root / name)
    put(tmp_path / "done" / name, b"taken")
    moved = move(root, name, tmp_path / "done", STAMP)
    assert moved != tmp_path / "done" / name
    assert original_name(moved.relative_to(tmp_path / "done").as_posix()) == name
    assert original_name(name) == name
