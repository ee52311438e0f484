"""What is said of the package, in one place and the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gformer_cli import __version__

tomllib = pytest.importorskip("tomllib")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_the_version_is_that_of_the_changelog_and_written_once(project: dict[str, Any]) -> None:
    assert "version" not in project and project["dynamic"] == ["version"]
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None and newest[1] == __version__
    assert __version__ not in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_extra_that_a_text_names_is_there(project: dict[str, Any]) -> None:
    texts = [*(ROOT / "gformer_cli").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    named = {
        extra.strip()
        for path in texts
        for group in re.findall(r"gformer\[([\w, -]+)\]", path.read_text(encoding="utf-8"))
        for extra in group.split(",")
    }
    assert {"demo", "watch", "tensorboard", "mlflow"} <= named <= set(project["optional-dependencies"])


def test_the_paper_is_cited() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["preferred-citation"]
    assert [one["family-names"] for one in paper["authors"]] == ["Ambekar", "Xiao", "Zhen", "Snoek"]
    assert paper["identifiers"][0]["value"] == "arXiv:2502.12195" and "doi" not in paper
