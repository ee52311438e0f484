"""Everything below a folder, whatever is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gformer_cli.folders import walking
from gformer_cli.folders.walking import DEEPEST, is_hidden, is_hidden_path, is_too_far, walk


def files(root: Path) -> tuple[list[str], list[tuple[str, OSError]]]:
    refused: list[tuple[str, OSError]] = []
    found = [f.relative for f in walk(root, lambda path, error: refused.append((path, error))) if not f.is_folder]
    return found, refused


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    "name",
    [".DS_Store", "._a.png", ".Trashes", ".@__thumb", "@eaDir", "#recycle", "#snapshot", "__MACOSX", "$RECYCLE.BIN",
     "System Volume Information", "lost+found", "@Recently-Snapshot", "Network Trash Folder", "Thumbs.db",
     "desktop.ini", "RECYCLER", "Temporary Items", "~snapshot", "Icon\r"],
)  # fmt: skip
def test_what_systems_leave_is_hidden(tmp_path: Path, name: str) -> None:
    assert is_hidden(name) and is_hidden_path(f"a/{name}/b") and not is_hidden_path("a/b")
    touch(tmp_path / name / "a.png")
    touch(tmp_path / "cat" / "b.png")
    assert files(tmp_path) == (["cat/b.png"], [])


def test_what_only_looks_like_it_is_not_hidden() -> None:
    assert not any(map(is_hidden, ["eaDir", "recycle", "Thumbs.db.png", "#1", "@home", "$1", "lost", "__init__"]))


def test_links_are_followed_under_every_name_but_never_upwards(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(root / "a" / "1.png")
    (root / "b").symlink_to("a")
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "self").symlink_to("self")
    (root / "a" / "c").symlink_to("../b")
    outside = touch(tmp_path / "elsewhere" / "2.png").parent
    (outside / "back").symlink_to(root)
    (root / "out").symlink_to(outside)
    assert files(root) == (["a/1.png", "a/self", "b/1.png", "b/self", "out/2.png"], [])


def test_folders_that_link_to_each_other_come_to_an_end(tmp_path: Path) -> None:
    for one in range(4):
        touch(tmp_path / str(one) / "a.png")
        for other in range(4):
            if one != other:
                (tmp_path / str(one) / f"to{other}").symlink_to(f"../{other}")
    found, refused = files(tmp_path)
    assert len(found) == 4 + 4 * 3 + 4 * 3 * 2 + 4 * 3 * 2 and refused == []


def test_links_that_multiply_are_left_after_a_while_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two links in each of 60 folders to the next: 2 ** 60 ways."""
    monkeypatch.setattr(walking, "MOST_AGAIN", 500)
    for number in range(60):
        folder = tmp_path / f"n{number}"
        folder.mkdir()
        for name in ("x", "y"):
            (folder / name).symlink_to(f"../n{number + 1}")
    touch(tmp_path / "n60" / "a.png")
    found, refused = files(tmp_path)
    assert "n60/a.png" in found and refused and all(is_too_far(error) for _, error in refused)


def test_a_tree_of_any_depth_is_walked_to_a_limit_and_told(tmp_path: Path, make_deep: Callable[[Path], Path]) -> None:
    touch(make_deep(tmp_path / "deep") / "a.png")
    touch(tmp_path / "cat" / "b.png")
    found, refused = files(tmp_path)
    assert found == ["cat/b.png"]
    ((path, error),) = refused
    assert Path(path).relative_to(tmp_path).parts == ("deep", *"d" * DEEPEST)
    assert is_too_far(error)


def test_a_path_that_is_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.png")
    folder = tmp_path
    top = folder / ("x" * 250)
    before = os.open(".", os.O_RDONLY)
    try:
        monkeypatch.chdir(tmp_path)
        for _ in range(20):
            Path("x" * 250).mkdir()
            os.chdir("x" * 250)
        Path("b.png").touch()
    finally:
        os.fchdir(before)
        os.close(before)
    found, refused = files(tmp_path)
    assert found == ["a.png"] and len(refused) == 1 and is_too_far(refused[0][1])
    from gformer_cli.files import remove_tree

    remove_tree(top)


def test_a_folder_that_is_closed_is_told_and_is_not_too_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the system's refusal is simulated."""
    touch(tmp_path / "shut" / "a.png")
    touch(tmp_path / "open" / "b.png")
    original = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return original(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, refused = files(tmp_path)
    assert found == ["open/b.png"] and [path for path, _ in refused] == [str(tmp_path / "shut")]
    assert not is_too_far(refused[0][1])
