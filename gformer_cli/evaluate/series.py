"""Accuracy along a stream, in few enough steps to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from gformer_cli.evaluate.results import Cell
from gformer_cli.metrics import mean

T = TypeVar("T")


def along(cells: Sequence[Cell], most: int) -> list[float]:
    """Accuracy in order of arrival, mean over `cells` (targets, seeds), in at most `most` steps.

    Neighbouring batches share a step, so that a step holds about as many batches as any other.
    """
    if not cells:
        return []
    steps = min(most, *(len(cell.batch_images) for cell in cells))
    curves = [[_accuracy(part) for part in chunks(_batches(cell), steps)] for cell in cells]
    return [mean(values) for values in zip(*curves, strict=True)]


def chunks(items: Sequence[T], most: int) -> list[Sequence[T]]:
    """`items` in order, cut into at most `most` parts of about one length, none of them empty."""
    count = min(most, len(items))
    edges = [number * len(items) // count for number in range(count + 1)] if count else []
    return [items[start:end] for start, end in pairwise(edges)]


def _batches(cell: Cell) -> list[tuple[int, int]]:
    return list(zip(cell.batch_images, cell.batch_correct, strict=True))


def _accuracy(batches: Sequence[tuple[int, int]]) -> float:
    return sum(correct for _, correct in batches) / sum(images for images, _ in batches)
