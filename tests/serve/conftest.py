from __future__ import annotations

from pathlib import Path

import pytest

from gformer_cli.bundle import Bundle, load_bundle

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="session")
def bundle() -> Bundle:
    """Three classes, images of 16 pixels, and a guard."""
    return load_bundle(GOLDEN / "bundles" / "guarded.gformer")


@pytest.fixture(scope="session")
def files() -> list[Path]:
    """Eighteen images of one condition, by name."""
    return sorted((GOLDEN / "images" / "fog").glob("*/*.png"))
