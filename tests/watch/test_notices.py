"""What the system tells of new files, and what must not end the telling."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.files import remove_tree
from gformer_cli.watch import notices as module
from gformer_cli.watch.notices import Notices

MakeDeep = Callable[[Path], Path]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ended a thread."""
    found: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", found.append)
    return found


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = tmp_path / "watched"
    folder.mkdir()
    return folder


def told(
    notices: Notices, name: str, *, but: str = "", also: tuple[str, ...] = (), act: Callable[[], None] = lambda: None
) -> bool:
    """Whether there is a notice of `name` and of those `also`, and none of `but`."""
    found: set[str] = set()
    until = time.monotonic() + 10.0
    while not {name, *also} <= found and time.monotonic() < until:
        act()
        notices.wait(0.05)
        found |= set(notices.take().files)
    return {name, *also} <= found and but not in found


@pytest.mark.parametrize("when", ["before", "meanwhile", "moved"])
def test_a_deep_tree_does_not_end_the_notices(
    watched: Path, tmp_path: Path, make_deep: MakeDeep, broken: list[Any], when: str
) -> None:
    deep = watched / "deep"
    if when == "before":
        make_deep(deep)
    notices = Notices(watched)
    try:
        assert notices.missing == ""
        if when == "meanwhile":
            make_deep(deep)
        elif when == "moved":
            make_deep(tmp_path / "elsewhere")
            (tmp_path / "elsewhere").rename(deep)
        notices.follow(str(Path("deep", *"d" * depth)) for depth in range(100))
        (watched / "a.png").write_bytes(b"image")
        assert told(notices, "a.png")
    finally:
        notices.close()
        remove_tree(deep)
    assert broken == []


def test_sub_folders_are_followed_as_told(watched: Path, broken: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def anew() -> None:
        notices.follow(["b"])
        (watched / "b" / "3.png").write_bytes(b"image")

    monkeypatch.setattr(module, "FOLLOWED", 2)
    names = ["a", "b", "b/c", "gone"]
    for number, name in enumerate(names[:3]):
        (watched / name).mkdir()
        os.utime(watched / name, (number, number))
    notices = Notices(watched)
    try:
        notices.follow(names)
        for name in ("a/1.png", "b/1.png", "b/c/1.png", "2.png"):
            (watched / name).write_bytes(b"image")
        assert told(notices, "2.png", but="a/1.png", also=("b/1.png", "b/c/1.png"))  # the last changed, and itself
        shutil.rmtree(watched / "b")
        (watched / "b").mkdir()
        assert told(notices, "b/3.png", act=anew)  # another folder of that name
        notices.follow([])
        (watched / "b" / "4.png").write_bytes(b"image")
        (watched / "5.png").write_bytes(b"image")
        assert told(notices, "5.png", but="b/4.png")
    finally:
        notices.close()
    assert broken == []
