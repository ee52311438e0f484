from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from gformer_cli.files import append_json_line
from gformer_cli.progress import Silent
from gformer_cli.records.points import Point
from gformer_cli.records.recording import recording
from gformer_cli.records.sinks import Picture, Stage


class Kept:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[list[int]] = []
        self.ended: list[bool] = []

    def tell(self, points: Sequence[Point]) -> None:
        self.told.append([point.step for point in points])

    def show(self, pictures: Sequence[Picture]) -> None: ...

    def close(self, *, finished: bool) -> None:
        self.ended.append(finished)


def stage(tmp_path: Path, *, resumed: bool = False) -> Stage:
    return Stage("pretrain", tmp_path, {"seed": "0"}, resumed)


def line(tmp_path: Path, step: int) -> None:
    append_json_line(tmp_path / "pretrain.jsonl", {"model": "all", "step": step, "loss": 1.0})


def test_records_follow_the_journal_and_not_that_of_a_training_before(tmp_path: Path) -> None:
    journal, kept = tmp_path / "pretrain.jsonl", Kept()
    line(tmp_path, 7)
    (tmp_path / "tensorboard" / "pretrain").mkdir(parents=True)
    with recording(Silent(), stage(tmp_path), lambda: journal, [lambda *_: kept]) as (progress, _):
        progress.advance()
        assert kept.told == [] and not (tmp_path / "pretrain.csv").exists()
        journal.unlink()
        for step in (2, 4):
            line(tmp_path, step)
            progress.advance("loss")
            progress.advance("loss")  # nothing new
    assert kept.told == [[2], [2, 4]] and kept.ended == [True]
    assert (tmp_path / "pretrain.csv").read_text() == "model,step,loss\nall,2,1.0\nall,4,1.0\n"
    assert not (tmp_path / "tensorboard" / "pretrain").exists()


def test_what_is_resumed_is_told_whole_and_an_end_by_an_error_as_such(tmp_path: Path) -> None:
    journal, kept = tmp_path / "pretrain.jsonl", Kept()
    line(tmp_path, 2)
    own = stage(tmp_path, resumed=True), lambda: journal, [lambda *_: kept]
    with pytest.raises(ZeroDivisionError), recording(Silent(), *own) as (progress, _):
        progress.advance()
        line(tmp_path, 4)
        raise ZeroDivisionError
    assert kept.told == [[2], [2, 4]] and kept.ended == [False]
