"""From the cells of many evaluations to what the board says: ranks, harm, cost, and whether gformer holds its own.

A cell is a set, a stream and a batch size. In it every target and every seed counts alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from benchmarks.board.plan import METHODS, RECIPES, Set, answers_alone, keeps_memory
from gformer_cli.evaluate.harm import BEARABLE
from gformer_cli.metrics import mean, paired_bootstrap, standard_error

REFERENCE = "source"
OURS = ("gformer", "gformer-context")
"""Without memory, and with one: each stands against the methods of its kind."""
_TOLERANCE = 1e-9

Cell = tuple[str, str, int]
"""Set, stream, batch size."""
Unit = tuple[str, int]
"""Target and seed."""


@dataclass(frozen=True)
class Measured:
    """One row's method on one target of a cell, under one seed."""

    cell: Cell
    unit: Unit
    row: str
    accuracy: float
    cost: float
    """Time as a multiple of a plain forward pass."""
    images: Sequence[int]
    """Of each batch of the stream that holds this target; empty where the answers are those of another cell."""
    right: Sequence[int]
    guesses: Mapping[str, float]
    """Estimator -> accuracy as it would be guessed without labels."""


@dataclass(frozen=True)
class Gap:
    """What a rival is ahead of gformer in a cell: mean and 95 % interval, in accuracy."""

    cell: Cell
    ours: str
    rival: str
    mean: float
    low: float
    high: float

    @property
    def held(self) -> bool:
        """Whether gformer is ahead, or within the interval."""
        return self.low <= 0.0 or self.mean <= 0.0


@dataclass(frozen=True)
class Row:
    """A method over all cells that count."""

    name: str
    rank: float
    """Mean over cells; 1 is the first of each."""
    accuracy: float
    error: float
    """Standard error over seeds."""
    harm: float
    """Most accuracy lost to `source` on one target of one cell, mean over seeds; below zero where none is."""
    where: tuple[Cell, str]
    unharmed: float
    """Share of the targets of all cells that lose at most `BEARABLE`."""
    cost: float


class Scores:
    """What was measured, and what it comes to."""

    def __init__(self, measured: Sequence[Measured]) -> None:
        self.measured = measured
        self._of: dict[tuple[Cell, str], dict[Unit, Measured]] = {}
        for one in measured:
            self._of.setdefault((one.cell, one.row), {})[one.unit] = one

    @cached_property
    def cells(self) -> list[Cell]:
        """Those where `source` was measured."""
        return list(dict.fromkeys(cell for cell, row in self._of if row == REFERENCE))

    @cached_property
    def rows(self) -> list[str]:
        """Measured in every cell, for all targets and seeds."""
        whole = {cell: self._of[cell, REFERENCE].keys() for cell in self.cells}
        names = dict.fromkeys(row for _, row in self._of)
        return [name for name in names if all(self._of.get((cell, name), {}).keys() == whole[cell] for cell in whole)]

    @property
    def incomplete(self) -> list[str]:
        """Rows that are not measured everywhere, and so have no rank."""
        return [name for name in dict.fromkeys(row for _, row in self._of) if name not in self.rows]

    def accuracy(self, cell: Cell, row: str, seed: int | None = None) -> float:
        found = self._of[cell, row].items()
        return mean(one.accuracy for (_, own), one in found if seed in (None, own))

    def error(self, cell: Cell, row: str) -> float:
        """Standard error over seeds."""
        return standard_error(self.accuracy(cell, row, seed) for seed in self._seeds(cell))

    def rank(self, cell: Cell, row: str) -> int:
        mine = self.accuracy(cell, row)
        return 1 + sum(self.accuracy(cell, other) > mine + _TOLERANCE for other in self.rows)

    def summary(self) -> list[Row]:
        """Best rank first."""
        return sorted((self._row(name) for name in self.rows), key=lambda row: row.rank)

    def gaps(self) -> list[Gap]:
        """Per cell the rival that gformer stands against worst: ahead beyond the interval, or else nearest to it."""
        rivals = [name for name in self.rows if not name.startswith("gformer")]
        return [max((self._gap(cell, rival) for rival in rivals), key=_danger) for cell in self.cells]

    def guess_errors(self) -> dict[str, dict[str, float]]:
        """Estimator -> row -> mean absolute error of the guessed accuracy over targets, cells and seeds."""
        found: dict[str, dict[str, list[float]]] = {}
        for one in self.measured:
            for estimator, guess in one.guesses.items():
                found.setdefault(estimator, {}).setdefault(one.row, []).append(abs(guess - one.accuracy))
        return {name: {row: mean(errors) for row, errors in rows.items()} for name, rows in found.items()}

    def _seeds(self, cell: Cell) -> list[int]:
        return sorted({seed for _, seed in self._of[cell, REFERENCE]})

    def _row(self, name: str) -> Row:
        losses = {
            (cell, target): mean(
                self._of[cell, REFERENCE][unit].accuracy - one.accuracy
                for unit, one in self._of[cell, name].items()
                if unit[0] == target
            )
            for cell in self.cells
            for target in dict.fromkeys(target for target, _ in self._of[cell, name])
        }
        where = max(losses, key=lambda place: losses[place])
        seeds = sorted({seed for cell in self.cells for seed in self._seeds(cell)})
        whole = [seed for seed in seeds if all(seed in self._seeds(cell) for cell in self.cells)]
        return Row(
            name=name,
            rank=mean(self.rank(cell, name) for cell in self.cells),
            accuracy=mean(self.accuracy(cell, name) for cell in self.cells),
            error=standard_error(mean(self.accuracy(cell, name, seed) for cell in self.cells) for seed in whole),
            harm=losses[where],
            where=where,
            unharmed=mean(float(loss <= BEARABLE + _TOLERANCE) for loss in losses.values()),
            cost=mean(one.cost for cell in self.cells for one in self._of[cell, name].values()),
        )

    def _gap(self, cell: Cell, rival: str) -> Gap:
        ours = OURS[rival in METHODS and keeps_memory(rival)]
        differences: list[float] = []
        weights: list[float] = []
        for unit, mine in self._of[cell, ours].items():
            theirs = self._of[cell, rival][unit]
            if not theirs.images:  # no batches to compare: the target as a whole
                differences.append(theirs.accuracy - mine.accuracy)
                weights.append(1.0)
                continue
            total = sum(mine.images)
            for images, one, other in zip(mine.images, mine.right, theirs.right, strict=True):
                differences.append((other - one) / images)
                weights.append(images / total)
        low, high = paired_bootstrap(differences, weights)
        return Gap(cell, ours, rival, self.accuracy(cell, rival) - self.accuracy(cell, ours), low, high)


def _danger(gap: Gap) -> tuple[bool, float]:
    return not gap.held, gap.mean


def read(documents: Iterable[tuple[Set, int, str, dict[str, Any]]]) -> list[Measured]:
    """The cells of results.json of each set, seed and recipe, under the names of their rows."""
    found: list[Measured] = []
    for one, seed, recipe, document in documents:
        rows = RECIPES[recipe].rows
        for cell in document["cells"]:
            method = cell["method"]
            if rows and method not in rows:
                continue
            entry = Measured(
                cell=(one.name, cell["stream"], cell["batch_size"]),
                unit=(cell["target"], seed),
                row=rows.get(method, method),
                accuracy=cell["accuracy"],
                cost=cell["cost_ratio"],
                images=cell["batch_images"],
                right=cell["batch_correct"],
                guesses=cell.get("estimates") or {},
            )
            found.append(entry)
    return found + _copies(found)


def _copies(measured: Sequence[Measured]) -> list[Measured]:
    """Of methods that answer each image by itself, the accuracy in the cells where they were not asked again."""
    known = {(one.cell, one.unit, one.row) for one in measured}
    cells = list(dict.fromkeys(one.cell for one in measured))
    return [
        replace(one, cell=cell, images=(), right=())
        for one in measured
        if one.row in METHODS and answers_alone(one.row)
        for cell in cells
        if cell[0] == one.cell[0] and (cell, one.unit, one.row) not in known
    ]
