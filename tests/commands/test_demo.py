from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.commands import demo

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
def statuses() -> dict[str, int]:
    """Exit statuses of the demo's steps by command; 0 where none is given."""
    return {}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, statuses: dict[str, int]) -> list[list[str]]:
    """The arguments of the processes that the demo starts, instead of starting them."""
    found: list[list[str]] = []

    def start(command: list[str], *, check: bool, stdout: Any) -> subprocess.CompletedProcess[str]:
        assert command[:3] == [sys.executable, "-m", "gformer_cli"] and not check
        assert stdout in (None, sys.stderr)
        found.append(command[3:])
        return subprocess.CompletedProcess(command, statuses.get(command[3], 0))

    monkeypatch.setattr(demo.subprocess, "run", start)
    return found


def test_what_is_shown_is_what_runs(called: list[list[str]], gformer: Gformer, tmp_path: Path) -> None:
    done = gformer("demo", "--out", tmp_path / "out")
    assert done.status == 0
    assert commands(done.out) == [["gformer", *arguments] for arguments in called] and len(called) == 5
    assert "stationary,label-shift" in called[-1]


def test_the_quick_demo_trains_one_small_model_and_ends_with_a_page(
    called: list[list[str]], gformer: Gformer, tmp_path: Path
) -> None:
    done = gformer("demo", "--quick", "--out", tmp_path, "--json")
    assert [arguments[0] for arguments in called] == ["data", "pretrain", "import", "evaluate"]
    assert "--no-leave-one-out" in called[1] and called[1][called[1].index("--threads") + 1] == "1"
    assert called[3].count("--target") == 2 and called[3][called[3].index("--jobs") + 1] == "2"
    assert done.json["report"] == called[3][called[3].index("--report") + 1] == str(tmp_path / "report.html")
    assert "predictions" not in done.json


def test_packages_that_are_missing_are_told_before_the_first_step(
    called: list[list[str]], gformer: Gformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "jinja2" else object())
    done = gformer("demo", "--quick", "--out", tmp_path / "out")
    assert done.status == 2 and "not installed (jinja2)" in done.err and "pip install 'gformer[demo]'" in done.err
    assert not called and not (tmp_path / "out").exists()


def test_a_bar_tells_what_is_left_of_all_steps(called: list[list[str]], gformer: Gformer, tmp_path: Path) -> None:
    steps = [demo.Step("", [], 30), demo.Step("", [], 90), demo.Step("", [], 120)]
    assert demo.bar_of(steps, 0, 0.0) == f"{'-' * 20} about 4 min left"
    assert demo.bar_of(steps, 1, 30.0) == f"{'#' * 2}{'-' * 18} about 4 min left"
    assert demo.bar_of(steps, 2, 240.0) == f"{'#' * 10}{'-' * 10} about 4 min left"  # twice as slow so far
    assert demo.bar_of(steps, 2, 60.0).endswith(" about 60 s left")
    out = gformer("demo", "--out", tmp_path / "out").out
    assert [line[:20].count("#") < 20 for line in out.splitlines() if line.endswith(" left")] == [True] * 5
    assert " left" not in gformer("demo", "--out", tmp_path / "out", "--dry-run").out


def test_json_is_one_document_and_the_common_options_reach_every_step(
    called: list[list[str]], gformer: Gformer, tmp_path: Path
) -> None:
    done = gformer("demo", "--out", tmp_path / "out", "--json", "-q", "-v")
    assert done.status == 0 and done.err == ""
    assert done.json["bundle"] == str(tmp_path / "out" / "run" / "model.gformer") and not done.json["dry_run"]
    assert [command[:2] for command in done.json["commands"]] == [["gformer", arguments[0]] for arguments in called]
    assert all(arguments[-2:] == ["--quiet", "--verbose"] for arguments in called)
    assert "[1/5]" in gformer("demo", "--out", tmp_path / "out", "--json").err


@pytest.mark.parametrize("options", [[], ["--overwrite"], ["--dry-run"]])
def test_a_file_is_no_folder_for_the_demo(gformer: Gformer, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "file").write_text("kept")
    done = gformer("demo", "--out", tmp_path / "file", *options)
    assert done.status == 2 and f"{tmp_path / 'file'} is a file, not a folder" in done.err and done.out == ""
    assert (tmp_path / "file").read_text() == "kept"


def test_overwrite_reaches_every_step(called: list[list[str]], gformer: Gformer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = gformer("demo", "--out", tmp_path)
    assert refused.status == 2 and f"output folder is not empty: {tmp_path}" in refused.err and not called
    assert gformer("demo", "--out", tmp_path, "--overwrite").status == 0
    assert all(arguments[-1] == "--overwrite" for arguments in called) and len(called) == 5


def test_a_step_that_fails_ends_the_demo_with_its_status(
    called: list[list[str]], statuses: dict[str, int], gformer: Gformer, tmp_path: Path
) -> None:
    statuses["pretrain"] = 130
    assert gformer("demo", "--out", tmp_path / "out").status == 130
    assert [arguments[0] for arguments in called] == ["data", "pretrain"]


def test_a_folder_that_cannot_be_is_told_beforehand(gformer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for extra in ([], ["--overwrite"], ["--dry-run"]):
        done = gformer("demo", "--out", tmp_path / "file", *extra)
        assert done.status == 2 and f"{tmp_path / 'file'} is a file, not a folder" in done.err
        done = gformer("demo", "--out", "/proc/x", *extra)
        assert done.status == 2 and "cannot write /proc/x" in done.err
