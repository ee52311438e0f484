"""The board as markdown for people, and as a document."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.board.plan import METHODS, RECIPES, Board, keeps_memory
from benchmarks.board.score import OURS, REFERENCE, Cell, Gap, Measured, Row, Scores
from benchmarks.universal.mix import CALIBRATION_TASKS, TASKS
from gformer_cli.bundle import library_versions
from gformer_cli.evaluate.harm import BEARABLE
from gformer_cli.metrics import mean

_MOST_ROWS = 12
"""Methods of the table by cells, beside ours and `source`."""


def selection(board: Board) -> list[str]:
    """What was chosen on what: a sentence each."""
    tuned = [one.name for one in board.sets if one.tuned_on]
    return [
        f"The shipped generator was trained on the tasks {', '.join(TASKS)}. Where a set has the name of one, it has "
        "other fonts, families of icons and pictures, and other classes.",
        f"Among several generators it was chosen on {', '.join(CALIBRATION_TASKS)}.",
        "Source models stop where validation images of the source domains stop gaining.",
        "Other methods have their papers' settings.",
        *(f"Recipe `{name}`: {RECIPES[name].purpose}." for name in board.recipes),
        *(f"Settings of gformer were chosen on {name}: it counts in no rank." for name in tuned),
        "Target labels chose nothing.",
    ]


def lines(board: Board, scores: Scores) -> Iterator[str]:
    """Markdown."""
    cells = scores.cells
    yield f"{len(cells)} cells: {_named(cells, 0)} x {_named(cells, 1)} x batches of {_named(cells, 2)}."
    seeds = sorted({one.unit[1] for one in scores.measured})
    yield f"Seeds {', '.join(map(str, seeds))}; {_limit(board.limit)} of each target."
    yield "± is the standard error over seeds."
    yield from ("", *_ranks(scores))
    yield from ("", *_by_set(scores))
    yield from ("", *_goal(scores.gaps()))
    yield from ("", *_by_cell(scores))
    if guesses := scores.guess_errors():
        yield from ("", *_guesses(guesses))
    if scores.incomplete:
        yield from ("", f"Not measured in every cell, so without a rank: {', '.join(scores.incomplete)}.")
    yield from ("", *(f"- {sentence}" for sentence in selection(board)))


def document(board: Board, scores: Scores, aside: Sequence[Measured]) -> dict[str, Any]:
    """All of it, for machines. `aside` are cells of sets that do not count."""
    return {
        "versions": library_versions(),
        "selection": selection(board),
        "sets": [asdict(one) for one in board.sets],
        "seeds": list(board.seeds),
        "limit": board.limit,
        "rows": [asdict(row) for row in scores.summary()],
        "gaps": [asdict(gap) | {"held": gap.held} for gap in scores.gaps()],
        "estimates": scores.guess_errors(),
        "cells": [asdict(one) for one in scores.measured],
        "cells_of_sets_tuned_on": [asdict(one) for one in aside],
    }


def _ranks(scores: Scores) -> Iterator[str]:
    yield f"Rank: among {len(scores.rows)} methods, mean over cells."
    yield f"Most lost: to `{REFERENCE}`, on one target of a cell."
    yield f"Unharmed: targets that lose {100 * BEARABLE:g} point or less. Time: in plain forward passes."
    yield from ("", "| method | memory | rank | accuracy, % | most lost | where | unharmed | time |", _rule(8))
    for row in scores.summary():
        (name, stream, size), target = row.where
        error = "" if math.isnan(row.error) else f" ± {100 * row.error:.1f}"
        where = f"{name}/{target}, {stream}, {size}" if row.harm > 0.0 else ""
        memory = "yes" if row.name in METHODS and keeps_memory(row.name) else ""
        yield (
            f"| {row.name} | {memory} | {row.rank:.1f} | {100 * row.accuracy:.1f}{error} "
            f"| {100 * max(0.0, row.harm):.1f} | {where} | {100 * row.unharmed:.0f} % | {row.cost:.1f} |"
        )


def _by_set(scores: Scores) -> Iterator[str]:
    """Rank and harm of ours on each set, beside the best of the others."""
    yield f"| set | source, % | {' | '.join(f'{name}: rank, %, most lost' for name in OURS)} | best other: rank, % |"
    yield _rule(3 + len(OURS))
    for name in dict.fromkeys(cell[0] for cell in scores.cells):
        own = Scores([one for one in scores.measured if one.cell[0] == name])
        rows = {row.name: row for row in own.summary()}
        best = next(row for row in rows.values() if not row.name.startswith("gformer"))
        ours = [f"{_place(rows[row])}, {100 * max(0.0, rows[row].harm):.1f}" for row in OURS]
        yield (f"| {name} | {100 * rows[REFERENCE].accuracy:.1f} | {' | '.join(ours)} | {best.name}: {_place(best)} |")


def _place(row: Row) -> str:
    return f"{row.rank:.1f}, {100 * row.accuracy:.1f}"


def _goal(gaps: Sequence[Gap]) -> Iterator[str]:
    held = [gap for gap in gaps if gap.held]
    yield (
        f"`{OURS[0]}` against methods without memory, `{OURS[1]}` against those with one: first, or within the 95 % "
        f"interval of the first, in {len(held)} of {len(gaps)} cells ({100.0 * len(held) / len(gaps):.0f} %)."
    )
    lost = [gap for gap in gaps if not gap.held]
    if lost:
        yield from ("", "| lost to | set | stream | batches of | points | 95 % interval |", _rule(6))
    for gap in lost:
        name, stream, size = gap.cell
        interval = f"{100 * gap.low:.1f} to {100 * gap.high:.1f}"
        yield f"| {gap.rival} | {name} | {stream} | {size} | {100 * gap.mean:.1f} | {interval} |"


def _by_cell(scores: Scores) -> Iterator[str]:
    summary = scores.summary()
    first = [row.name for row in summary[:_MOST_ROWS]]
    shown = [
        row.name for row in summary if row.name in first or row.name == REFERENCE or row.name.startswith("gformer")
    ]
    yield from (f"The {len(shown)} methods of best rank, `{REFERENCE}` and ours among them. Bold: the best of all.", "")
    pairs = list(dict.fromkeys(cell[1:] for cell in scores.cells))
    for name in dict.fromkeys(cell[0] for cell in scores.cells):
        own = [(name, *pair) for pair in pairs if (name, *pair) in scores.cells]
        yield from (f"{name}, accuracy in %", "")
        yield f"| method | {' | '.join(f'{stream}, {size}' for _, stream, size in own)} |"
        yield _rule(1 + len(own))
        best = {cell: max(scores.accuracy(cell, row) for row in scores.rows) for cell in own}
        for row in shown:
            yield f"| {row} | {' | '.join(_figure(scores, cell, row, best[cell]) for cell in own)} |"
        yield ""


def _figure(scores: Scores, cell: Cell, row: str, best: float) -> str:
    accuracy, error = scores.accuracy(cell, row), scores.error(cell, row)
    text = f"{100 * accuracy:.1f}"
    text = f"**{text}**" if text == f"{100 * best:.1f}" else text
    return text if math.isnan(error) else f"{text} ± {100 * error:.1f}"


def _guesses(errors: dict[str, dict[str, float]]) -> Iterator[str]:
    yield "Accuracy as it is guessed without labels: mean absolute error in points over targets, cells and seeds."
    rows = [row for row in (REFERENCE, *OURS) if any(row in found for found in errors.values())]
    yield from ("", f"| estimator | {' | '.join(rows)} | all methods |", _rule(2 + len(rows)))
    for name, found in errors.items():
        own = [f"{100 * found[row]:.1f}" if row in found else "" for row in rows]
        yield f"| {name} | {' | '.join(own)} | {100 * mean(found.values()):.1f} |"


def _rule(columns: int) -> str:
    return "| --- " * columns + "|"


def _named(cells: Sequence[Cell], place: int) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(cell[place] for cell in cells))


def _limit(limit: int | None) -> str:
    return "all images" if limit is None else f"at most {limit} images"
