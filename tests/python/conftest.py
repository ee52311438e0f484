from __future__ import annotations

from pathlib import Path

import pytest

import gformer_cli as gformer

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def model() -> gformer.Model:
    """Three classes, images of 16 pixels, a guard that trusts what is generated for `files`."""
    return gformer.load(GOLDEN / "bundles" / "guarded.gformer", device="cpu")


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Eighteen images of one condition, by name."""
    return sorted((GOLDEN / "images" / "fog").glob("*/*.png"))
