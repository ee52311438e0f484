from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gformer_cli.app

Gformer = Callable[..., Any]


def commands(out: str) -> list[list[str]]:
    """The command lines that the demo shows."""
    return [shlex.split(line[2:]) for line in out.splitlines() if line.startswith("$ ")]


def test_a_dry_run_shows_every_command_and_touches_nothing(gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("demo", "--out", tmp_path / "a b", "--dry-run")
    assert done.status == 0
    assert [line[1] for line in commands(done.out)] == ["data", "pretrain", "meta-train", "adapt", "evaluate"]
    assert done.out.splitlines()[-1] == "Dry run: nothing was touched."
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the demo runs, instead of running it."""
    original, found = gformer_cli.app.run, []

    def run(arguments: list[str]) -> int:
        if arguments[0] == "demo":
            return original(arguments)
        found.append(arguments)
        return 0 if arguments[0] != "broken" else 1

    monkeypatch.setattr(gformer_cli.app, "run", run)
    return found


def test_what_is_shown_is_what_runs(called: list[list[str]], gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("demo", "--out", tmp_path / "out")
    assert done.status == 0
    assert commands(done.out) == [["gformer", *arguments] for arguments in called] and len(called) == 5


def test_overwrite_reaches_every_step(called: list[list[str]], gformer: Gformer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = gformer("demo", "--out", tmp_path)
    assert refused.status == 2 and f"output folder is not empty: {tmp_path}" in refused.err and not called
    assert gformer("demo", "--out", tmp_path, "--overwrite").status == 0
    assert all(arguments[-1] == "--overwrite" for arguments in called) and len(called) == 5


def test_a_step_that_fails_ends_the_demo_with_its_status(
    gformer: Gformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def run(arguments: list[str]) -> int:
        seen.append(arguments[0])
        return 130 if arguments[0] == "pretrain" else 0

    monkeypatch.setattr(gformer_cli.app, "run", run)
    assert gformer("demo", "--out", tmp_path / "out").status == 130
    assert seen == ["data", "pretrain"]
