"""Figures that judge predictions."""

from __future__ import annotations

from collections.abc import Iterable


def accuracy(correct: int, total: int) -> float:
    """Share of correct predictions; not a number without any."""
    return correct / total if total else float("nan")


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean; not a number without any."""
    found = list(values)
    return sum(found) / len(found) if found else float("nan")
