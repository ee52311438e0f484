"""The one command that makes the universal generator again."""

from __future__ import annotations

import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.universal import __main__ as everything
from benchmarks.universal.__main__ import Step

MODULES = ["tasks", "pretrain", "train", "calibrate", "pretrain", "held_out"]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The modules whose commands were run, instead of running them; train fails the first time."""
    found: list[str] = []

    def run(step: Step) -> int:
        found.append(step.module)
        if step.done is not None:
            step.done.parent.mkdir(parents=True, exist_ok=True)
        fails = found.count("train") == 1 and step.module == "train"
        if step.done is not None and not step.marked and not fails:
            step.done.touch()
        return 3 if fails else 0

    monkeypatch.setattr(Step, "run", run)
    return found


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def call(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        return everything.main()

    return call


def test_a_dry_run_shows_the_commands_and_touches_nothing(
    make: Callable[..., int], called: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make("--work", tmp_path / "all", "--seconds", 60, "--processes", 2, "--dry-run") == 0
    commands = [shlex.split(line[2:]) for line in capsys.readouterr().out.splitlines() if line.startswith("$ ")]
    assert [words[:3] for words in commands] == [["python", "-m", f"benchmarks.universal.{name}"] for name in MODULES]
    train, calibrate, measure = commands[2], commands[3], commands[5]
    assert train[train.index("--seconds") + 1] == "60" and "--resume" in train
    assert calibrate[calibrate.index("--generator") + 1] == train[train.index("--out") + 1]
    assert measure[measure.index("--generator") + 1] == calibrate[calibrate.index("--out") + 1]
    assert [words[words.index("--processes") + 1] for words in commands if "--processes" in words] == ["2"] * 3
    assert not called and not list(tmp_path.iterdir())


def test_help_lists_the_steps(make: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        make("--help")
    shown = capsys.readouterr().out
    assert all(f"{number}. {name}: " in shown for number, name in enumerate(MODULES, start=1))


def test_what_failed_ends_it_and_what_is_done_is_not_done_again(
    make: Callable[..., int], called: list[str], tmp_path: Path
) -> None:
    assert make("--work", tmp_path) == 3
    assert called == MODULES[:3]
    assert make("--work", tmp_path) == 0
    assert called[3:] == MODULES[1:]
    assert make("--work", tmp_path) == 0
    assert called[8:] == ["pretrain", "pretrain", "held_out"]  # these look for themselves


@pytest.mark.parametrize("step", everything.steps(Path("w"), seconds=5, processes=1, device="cpu", seed=1))
def test_each_command_knows_the_options_it_is_given(
    step: Step, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["command", *step.arguments, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(step.command[2], run_name="__main__")
    assert ended.value.code == 0
    known = capsys.readouterr().out.split()
    assert {word for word in step.arguments if word.startswith("--")} <= set(known)
