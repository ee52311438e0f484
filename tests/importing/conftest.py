from __future__ import annotations

from pathlib import Path

import pytest

from tests.importing.photographs import make_photographs


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fifty image files of all kinds and sizes, two of them large."""
    return make_photographs(tmp_path_factory.mktemp("photographs"))
