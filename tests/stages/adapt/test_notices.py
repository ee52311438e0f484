"""What the system tells of new files, and what must not end the telling."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.stages.adapt.notices import Notices

MakeDeep = Callable[[Path], Path]


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ended a thread."""
    found: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", found.append)
    return found


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "watched"
    folder.mkdir()
    yield folder


def told(notices: Notices, name: str) -> bool:
    until = time.monotonic() + 10.0
    while time.monotonic() < until:
        if name in notices.take().files:
            return True
        notices.wait(0.05)
    return False


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
            make_deep(tmp_path / "elsewhere")  # so that there is something to remove
        (watched / "a.png").write_bytes(b"image")
        assert told(notices, "a.png")
    finally:
        notices.close()
    assert broken == []
    if when == "moved":
        from gformer_cli.files import remove_tree

        remove_tree(deep)
