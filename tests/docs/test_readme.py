"""The README is one screen to the point, and what it says to type works as it stands there."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.reading import ROOT, blocks

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL, *BLOCKS = [content for _, content in blocks(TEXT)]


def test_it_is_short_and_its_tables_are_narrow() -> None:
    lines = TEXT.splitlines()
    assert len(lines) < 120
    assert [line for line in lines if line.startswith("|") and len(line) > 80] == []


def test_it_says_how_to_choose_a_build_of_torch_before_gformer_is_installed() -> None:
    torch, gformer = INSTALL.splitlines()
    assert torch.endswith("/whl/cpu") and gformer == 'pip install "gformer[demo]"'


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_block_runs_as_written_in_an_empty_folder(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    program = tmp_path / "bin" / "gformer"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gformer_cli "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    assert len(BLOCKS) == 4
    for block in BLOCKS:
        done = subprocess.run(
            ["bash", "-euc", block], cwd=here, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
    for name in ("predictions.csv", "of-sites.csv"):
        with (here / name).open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 400
    assert "<html" in (here / "report.html").read_text(encoding="utf-8")[:200]
