"""A short run of the fuzz program; the long one is `python benchmarks/fuzz.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


@pytest.mark.slow
def test_bundles_images_and_folders_are_read_or_refused_in_clear_words() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAM, "--bundles", "100", "--images", "100", "--trees", "100", "--seed", "7"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.partition(" in ")[0] for line in done.stdout.splitlines()] == [
        "bundles: 100",
        "images: 100",
        "trees: 100",
    ]
