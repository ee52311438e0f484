"""What each method loses to `source`, cell by cell: every target on every stream at every batch size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gformer_cli.evaluate.results import Summary

BEARABLE = 0.01
"""Accuracy: the loss of a cell that counts as none."""
COLUMNS = ("method", "where most", "most", f"cells with {100 * BEARABLE:.1f} or less, %")
"""Of a table with a method a row."""


@dataclass(frozen=True)
class Loss:
    """One method on one target of one stream at one batch size, over seeds."""

    stream: str
    batch_size: int
    target: str
    loss: float
    """Accuracy lost to `source`; negative where it gains."""

    @property
    def place(self) -> tuple[str, int, str]:
        """The cell, whatever the method."""
        return self.stream, self.batch_size, self.target


def in_words(stream: str, batch_size: int, target: str) -> str:
    """A cell's place."""
    return f"{target}, {stream}, batches of {batch_size}"


@dataclass(frozen=True)
class Harm:
    """One method over all cells of an evaluation."""

    method: str
    cells: list[Loss]

    @property
    def worst(self) -> Loss:
        """The cell where most is lost, or least gained."""
        return max(self.cells, key=lambda cell: cell.loss)

    @property
    def lost_most(self) -> tuple[str, float]:
        """Where most is lost, in words, and how much; nowhere and 0 where nothing is, to a tenth of a point."""
        worst = self.worst
        return (in_words(*worst.place), worst.loss) if round(worst.loss, 3) > 0.0 else ("", 0.0)

    @property
    def bearable(self) -> float:
        """Share of the cells where at most `BEARABLE` is lost."""
        return sum(cell.loss <= BEARABLE + 1e-9 for cell in self.cells) / len(self.cells)

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "worst": vars(self.worst),
            "bearable": self.bearable,
            "cells": [vars(cell) for cell in self.cells],
        }


def harms(summaries: Sequence[Summary]) -> list[Harm]:
    """Of every method that is compared with `source`."""
    found: dict[str, list[Loss]] = {}
    for s in summaries:
        for target, difference in s.to_source_by_target.items():
            found.setdefault(s.method, []).append(Loss(s.stream, s.batch_size, target, -difference.mean))
    return [Harm(method, cells) for method, cells in found.items()]


def by_cell(found: Sequence[Harm]) -> dict[tuple[str, int, str], list[float]]:
    """Per cell (`Loss.place`) what each method loses there; not a number where it was not measured."""
    losses = [{cell.place: cell.loss for cell in harm.cells} for harm in found]
    places = dict.fromkeys(place for own in losses for place in own)
    return {place: [own.get(place, math.nan) for own in losses] for place in places}
