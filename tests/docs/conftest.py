from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.docs.reading import ROOT


@pytest.fixture(scope="session")
def reference() -> dict[str, Any]:
    """What docs/hooks/reference.py defines: MkDocs loads it by its path as well."""
    return runpy.run_path(str(ROOT / "docs" / "hooks" / "reference.py"))


@pytest.fixture(scope="session")
def pages(reference: dict[str, Any]) -> dict[Path, str]:
    """The text of every page that people read, those that are made at each build included."""
    written = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")]
    made = {"commands.md": reference["commands_page"](), "settings.md": reference["settings_page"]()}
    return {path: path.read_text(encoding="utf-8") for path in written} | {
        ROOT / "docs" / "reference" / name: text for name, text in made.items()
    }
