"""A short run of the fuzz program; the long one is `python benchmarks/fuzz.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


def run(*options: str) -> list[str]:
    """What was done, and how often; fails where something was found."""
    done = subprocess.run([sys.executable, PROGRAM, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.partition(" in ")[0] for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_mutated_bundles_and_images_are_read_or_refused_in_clear_words() -> None:
    told = run("--bundles", "100", "--images", "100", "--trees", "0", "--seed", "7")
    assert told == ["bundles: 100", "images: 100"]


@pytest.mark.slow
def test_nothing_in_random_trees_of_folders_is_lost_or_read_wrongly() -> None:
    told = run("--bundles", "0", "--images", "0", "--trees", "60", "--seed", "7")
    assert told == ["trees: 60", "commands: 1"]
    assert len(run("--only", "trees:5", "--seed", "7")) == 1
