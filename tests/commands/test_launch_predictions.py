from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gformer_cli.app import run as run_here
from tests.commands.launching import launched
from tests.commands.test_shards import cells

pytestmark = pytest.mark.slow


def test_two_processes_measure_what_one_does(data: Path, bundle: Path, tmp_path: Path) -> None:
    words = ("evaluate", "--model", bundle, "--target", data / "targets", "--batch-size", 8)
    words += ("--streams", "stationary,mixed", "--methods", "bn,gformer,tent")
    words += ("--tune", "--source", data / "sources", "--out")
    assert run_here([*map(str, words), str(tmp_path / "one")]) == 0
    done = launched(*words, tmp_path / "two", "--fail-under", "gformer=1")
    assert done.returncode == 1 and done.stderr.count("error:") == 1, done.stderr
    assert cells(tmp_path / "two") == cells(tmp_path / "one")
    assert done.stdout.count("Wrote") == 1 and done.stderr.count("evaluating:") == 1


def test_two_processes_predict_the_rows_of_one(
    data: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = Path(shutil.copytree(data / "targets", tmp_path / "targets"))
    (targets / "fog" / "circle" / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    words = (
        "adapt",
        "--model",
        bundle,
        "--target",
        targets,
        "--batch-size",
        8,
        "--probabilities",
        "--pick",
        9,
        "--out",
    )
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert run_here([*map(str, words), str(tmp_path / "one.csv"), "--pick-out", str(tmp_path / "a" / "p.csv")]) == 0
    done = launched(*words, tmp_path / "two.csv", "--pick-out", tmp_path / "b" / "p.csv")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert (tmp_path / "b" / "p.csv").read_bytes() == (tmp_path / "a" / "p.csv").read_bytes()
    assert done.stderr.count("1 unreadable image skipped") == 1
    assert done.stdout.count("59 images in 8 batches") == 1
    here = capsys.readouterr().out.splitlines()
    guessed = [line for line in here if line.startswith(("fog ", "night "))]
    assert len(guessed) == 2 and set(guessed) <= set(done.stdout.splitlines())
    refused = launched(*words, tmp_path / "three.csv", "--audit", tmp_path / "audit.jsonl")
    assert refused.returncode == 2 and refused.stderr.count("error: --audit wants every batch in one process") == 1
    assert {path.suffix for path in tmp_path.iterdir()} == {"", ".csv"} and not (tmp_path / "three.csv").exists()
