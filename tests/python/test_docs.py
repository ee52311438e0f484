"""The examples of docs/how-to/python.md run as they stand there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.python.conftest import GOLDEN

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "python.md"


def test_every_example_runs(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copyfile(GOLDEN / "bundles" / "guarded.gformer", tmp_path / "site.gformer")
    (tmp_path / "incoming").mkdir()
    for number in (1, 2, 3):
        shutil.copyfile(files[number], tmp_path / "incoming" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    known: dict[str, Any] = {}
    for number, example in enumerate(examples):
        exec(compile(example, f"{PAGE.name}, example {number}", "exec"), known)
    assert len(examples) == 7
    assert (tmp_path / "mine.gformer").is_file()
    assert "left out image 1: not an image that Pillow can read" in capsys.readouterr().out
