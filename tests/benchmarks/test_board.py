"""The board: ranks, harm and gaps worked out by hand, and which commands are run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.board.__main__ import main
from benchmarks.board.plan import QUICK, RECIPES, SETS, UNIVERSAL, Board, keeps_memory
from benchmarks.board.score import Measured, Scores, read
from benchmarks.board.show import document, lines
from benchmarks.board.work import Failed, Job, Places, documents, jobs

A, B = ("icons", "stationary", 8), ("icons", "label-shift", 8)


def measured(row: str, cell: tuple[str, str, int], unit: tuple[str, int], right: list[int]) -> Measured:
    """Batches of eight images each."""
    return Measured(cell, unit, row, sum(right) / (8 * len(right)), 2.0, [8] * len(right), right, {})


def board(**changes: Any) -> Board:
    usual: dict[str, Any] = {
        "sets": [SETS["icons"]],
        "seeds": (0, 1),
        "streams": ("stationary",),
        "sizes": (64, 8),
        "limit": 16,
        "methods": ("source", "gformer"),
        "recipes": (),
    }
    return Board(**usual | changes)


@pytest.fixture
def scores() -> Scores:
    """Two cells, one target, two seeds; `bn` gains four images in A and loses eight of sixteen in B."""
    found = []
    for seed in (0, 1):
        unit = ("pixel", seed)
        found += [measured("source", cell, unit, [4, 4]) for cell in (A, B)]
        found += [measured("bn", A, unit, [6, 6]), measured("bn", B, unit, [0, 0])]
        found += [measured("lame", A, unit, [4, 4]), measured("lame", B, unit, [7, 7 + seed])]
        found += [measured(ours, cell, unit, [5, 5]) for ours in ("gformer", "gformer-context") for cell in (A, B)]
    return Scores(found)


def test_rank_counts_those_that_are_better(scores: Scores) -> None:
    assert [scores.rank(A, row) for row in scores.rows] == [4, 1, 4, 2, 2]
    assert [scores.rank(B, row) for row in scores.rows] == [4, 5, 1, 2, 2]
    assert {row.name: row.rank for row in scores.summary()} == {
        "gformer": 2.0, "gformer-context": 2.0, "lame": 2.5, "bn": 3.0, "source": 4.0
    }  # fmt: skip


def test_accuracy_and_its_error_are_over_seeds(scores: Scores) -> None:
    lame = next(row for row in scores.summary() if row.name == "lame")
    # cells: 8/16 in both seeds; 14/16 and 15/16
    assert lame.accuracy == pytest.approx((0.5 + (0.875 + 0.9375) / 2) / 2)
    # means of the seeds: 0.6875 and 0.71875
    assert lame.error == pytest.approx(0.03125 / 2)


def test_harm_is_the_worst_target_of_all_cells(scores: Scores) -> None:
    rows = {row.name: row for row in scores.summary()}
    assert (rows["bn"].harm, rows["bn"].where, rows["bn"].unharmed) == (0.5, (B, "pixel"), 0.5)
    assert rows["gformer"].harm == -0.125 and rows["gformer"].unharmed == 1.0


def test_gformer_stands_against_the_best_rival_of_its_kind(scores: Scores) -> None:
    first, second = scores.gaps()
    assert (first.rival, first.ours) == ("bn", "gformer")
    assert first.mean == pytest.approx(0.125) and (first.low, first.high) == (0.125, 0.125)
    assert not first.held  # all batches alike: the interval is a point above 0
    assert second.rival == "lame" and second.ours == "gformer"
    # per batch of eight 2, 2, 2 and 3 images more; drawn anew, the mean lies between 2/8 and 3/8
    assert second.mean == pytest.approx(9 / 32) and 2 / 8 <= second.low <= second.high <= 3 / 8


def test_within_the_interval_is_held() -> None:
    found = [measured("source", A, ("pixel", 0), [4] * 4)]
    found += [measured("bn", A, ("pixel", 0), [8, 0, 8, 1])]
    found += [measured(ours, A, ("pixel", 0), [4] * 4) for ours in ("gformer", "gformer-context")]
    (gap,) = Scores(found).gaps()
    assert gap.rival == "bn" and gap.mean == pytest.approx(1 / 32) and gap.low < 0.0 and gap.held


def test_memory_decides_which_of_ours_a_rival_meets() -> None:
    assert not keeps_memory("bn") and not keeps_memory("lame") and not keeps_memory("memo")
    assert not keeps_memory("tent-episodic")
    assert keeps_memory("tent") and keeps_memory("rotta") and keeps_memory("gformer-context")


def test_what_is_not_measured_everywhere_has_no_rank(scores: Scores) -> None:
    part = Scores([*scores.measured, measured("tent", A, ("pixel", 0), [8, 8])])
    assert part.incomplete == ["tent"] and "tent" not in part.rows
    assert "without a rank: tent" in "\n".join(lines(board(), part))


def test_guesses_are_judged_by_their_mean_absolute_error() -> None:
    found = [
        Measured(A, (target, 0), "source", accuracy, 1.0, [8], [4], {"atc": guess})
        for target, accuracy, guess in (("pixel", 0.5, 0.7), ("games", 0.6, 0.5))
    ]
    assert Scores(found).guess_errors() == {"atc": {"source": pytest.approx(0.15)}}


def test_table_names_ranks_harm_and_every_loss(scores: Scores) -> None:
    text = "\n".join(lines(board(), scores))
    assert "| bn |  | 3.0 | 37.5 ± 0.0 | 50.0 | icons/pixel, label-shift, 8 | 50 % | 2.0 |" in text
    assert "| gformer-context | yes | 2.0 | 62.5 ± 0.0 | 0.0 |  | 100 % | 2.0 |" in text  # nothing is lost anywhere
    assert "in 0 of 2 cells (0 %)" in text and "| bn | icons | stationary | 8 | 12.5 | 12.5 to 12.5 |" in text
    assert "| icons | 50.0 | 2.0, 62.5, 0.0 | 2.0, 62.5, 0.0 | lame: 2.5, 70.3 |" in text
    json.dumps(document(board(), scores, []))


def test_cells_stand_in_the_order_that_was_asked_for() -> None:
    plan = board(sets=[SETS["letters"], SETS["icons"]], streams=("stationary", "mixed+label-shift"))
    cells = [(name, stream, size) for size in (8, 64) for stream in reversed(plan.streams) for name in QUICK[:2]]
    assert sorted(cells, key=plan.place) == [
        (one.name, stream, size) for one in plan.sets for size in (64, 8) for stream in plan.streams
    ]


def test_what_is_measured_cannot_be_misspelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (["--stream", "nonsense"], ["--method", "nope"], ["--set", "emoji"]):
        monkeypatch.setattr("sys.argv", ["board", "--work", str(tmp_path), "--show", *wrong])
        with pytest.raises(SystemExit):
            main()


def test_one_seed_has_no_standard_error(scores: Scores) -> None:
    one = Scores([entry for entry in scores.measured if entry.unit[1] == 0])
    assert all(math.isnan(row.error) for row in one.summary())
    assert "nan" not in "\n".join(lines(board(seeds=(0,)), one))


def test_jobs_come_seed_by_seed_and_recipes_last(tmp_path: Path) -> None:
    plan = board(sets=[SETS["icons"], SETS["letters"]], recipes=["own"])
    found = [(job.recipe, job.seed, job.one.name) for job in jobs(plan, Places(tmp_path, tmp_path), None, "cpu")]
    assert found[:4] == [(UNIVERSAL, seed, name) for seed in (0, 1) for name in ("icons", "letters")]
    assert [one[0] for one in found[4:]] == ["own"] * 4


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands, each of which leaves the file that says that it is done."""
    commands: list[list[str]] = []

    def gformer(log: Path, *arguments: object) -> None:
        words = [str(argument) for argument in arguments]
        commands.append(words)
        option, file = {
            "pretrain": ("--out", "source.json"),
            "import": ("--run", "model.gformer"),
            "meta-train": ("--run", "model.gformer"),
            "evaluate": ("--out", "results.json"),
        }[words[0]]
        done = Path(words[words.index(option) + 1]) / file
        done.parent.mkdir(parents=True, exist_ok=True)
        streams = words[words.index("--streams") + 1].split(",") if "--streams" in words else []
        done.write_text(json.dumps({"cells": [{"stream": stream} for stream in streams]}))

    monkeypatch.setattr("benchmarks.board.work.gformer", gformer)
    return commands


def test_a_job_does_nothing_twice(tmp_path: Path, ran: list[list[str]]) -> None:
    job = Job(board(), Places(tmp_path, tmp_path / "data"), SETS["icons"], 1, UNIVERSAL, "weights.pth", "cpu")
    job.go()
    assert [words[0] for words in ran] == ["pretrain", "import", "evaluate", "evaluate"]
    assert "--no-leave-one-out" in ran[0] and ran[0][ran[0].index("--weights") + 1] == "weights.pth"
    assert [words[words.index("--batch-size") + 1] for words in ran[2:]] == ["64", "8"]
    job.go()
    assert len(ran) == 4
    assert len(list(documents(board(), job.places))) == 2


def test_a_board_is_widened_by_what_is_missing(tmp_path: Path, ran: list[list[str]]) -> None:
    for streams in (("stationary",), ("stationary", "bursts", "mixed")):
        plan = board(streams=streams, methods=("source", "memo"))
        Job(plan, Places(tmp_path, tmp_path / "data"), SETS["icons"], 1, UNIVERSAL, None, "cpu").go()
    told = [[words[words.index(option) + 1] for option in ("--batch-size", "--streams", "--methods")]
            for words in ran if words[0] == "evaluate"]  # fmt: skip
    assert told == [
        ["64", "stationary", "source,memo"],
        ["8", "stationary", "source"],
        ["64", "bursts,mixed", "source"],
        ["8", "bursts,mixed", "source"],
    ]


def test_recipes_train_on_from_one_source_model(tmp_path: Path, ran: list[list[str]]) -> None:
    places = Places(tmp_path, tmp_path / "data")
    for recipe in (UNIVERSAL, "own", "paper"):
        Job(board(sizes=(8,)), places, SETS["icons"], 0, recipe, None, "cpu").go()
    # the paper's episodes need models that have not seen a domain: they are trained apart
    assert [words[0] for words in ran] == [
        "pretrain", "import", "evaluate", "meta-train", "evaluate", "pretrain", "meta-train", "evaluate"
    ]  # fmt: skip
    assert ran[4][ran[4].index("--methods") + 1] == ",".join(RECIPES["own"].rows)
    assert "--leave-one-out" in ran[5]


def cell_of(method: str, size: int) -> dict[str, Any]:
    """As results.json has it."""
    return {
        "method": method,
        "stream": "stationary",
        "batch_size": size,
        "target": "pixel",
        "accuracy": 0.5,
        "cost_ratio": 2.0,
        "batch_images": [8],
        "batch_correct": [4],
    }


def test_results_of_a_recipe_get_the_names_of_its_rows() -> None:
    cells = [cell_of(method, 8) for method in ("source", "gformer")]
    both = [(SETS["icons"], 0, recipe, {"cells": cells}) for recipe in (UNIVERSAL, "paper")]
    assert [one.row for one in read(both)] == ["source", "gformer", "gformer, the paper's recipe"]


def test_what_answers_each_image_alone_is_measured_once() -> None:
    cells = [cell_of(method, 64) for method in ("source", "gformer", "gformer-context", "memo")]
    cells += [cell_of(method, 8) for method in ("source", "gformer", "gformer-context")]
    scores = Scores(read([(SETS["icons"], seed, UNIVERSAL, {"cells": cells}) for seed in (0, 1)]))
    assert scores.rows == ["source", "gformer", "gformer-context", "memo"]
    assert scores.accuracy(("icons", "stationary", 8), "memo") == 0.5
    assert all(gap.held for gap in scores.gaps())


def test_a_set_that_cannot_be_drawn_ends_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").write_text("a file, where the images are to go")
    monkeypatch.setattr("sys.argv", ["board", "--work", str(tmp_path), "--set", "digit-cameras"])
    assert main() == 1
    assert capsys.readouterr().err == f"gformer data ended with 2: see {tmp_path / 'data.log'}\n"


def test_what_fails_names_its_log(tmp_path: Path) -> None:
    from benchmarks.board.work import gformer

    with pytest.raises(Failed, match=r"gformer nonsense ended with 2: see .*a\.log"):
        gformer(tmp_path / "a.log", "nonsense")
    assert "$ gformer nonsense" in (tmp_path / "a.log").read_text()
