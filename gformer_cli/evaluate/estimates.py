"""Each method's accuracy as estimators guess it from its predictions, beside the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gformer_cli.core.estimators import AETTA, ATC_CONFIDENCE, ATC_ENTROPY, CONFIDENCE, ESTIMATORS
from gformer_cli.metrics import mean

if TYPE_CHECKING:
    from gformer_cli.evaluate.results import Cell

TITLES = {
    CONFIDENCE: "mean confidence",
    ATC_CONFIDENCE: "ATC, confidence",
    ATC_ENTROPY: "ATC, entropy",
    AETTA: "AETTA",
}
"""Estimators as tables call them."""


@dataclass(frozen=True)
class Missed:
    """How far estimators are from a method's accuracy, over the cells of an evaluation."""

    method: str
    cells: int
    errors: dict[str, float]
    """Mean absolute error over the cells, by estimator; of those that could be had in every cell."""

    def to_json(self) -> dict[str, Any]:
        return {"method": self.method, "cells": self.cells, "mean_absolute_error": self.errors}


def missed(cells: Sequence[Cell], methods: Iterable[str]) -> list[Missed]:
    """Of each of `methods` that has estimates."""
    found = []
    for method in methods:
        own = [cell for cell in cells if cell.method == method]
        known = [name for name in ESTIMATORS if own and all(name in cell.estimates for cell in own)]
        if known:
            errors = {name: mean(abs(cell.estimates[name] - cell.accuracy) for cell in own) for name in known}
            found.append(Missed(method, len(own), errors))
    return found
