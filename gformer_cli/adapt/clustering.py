"""k-means with weights, on a bounded number of points."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Whole: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
_ROUNDS = 10
_PIECE = 1024
"""Points whose distances to all centres are held at once."""


def clusters(
    points: Floats, weights: Floats, count: int, seed: int
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], Floats]:
    """For points (N, D) and weights (N,) above 0: the cluster of each, (N,), and its distance to the centre, (N,).

    There are at most `count`, 1 or more. Starts are drawn as in k-means++ (Arthur and Vassilvitskii 2007).
    """
    centres = points[_starts(points, weights, min(count, len(points)), seed)]
    own, squares = _nearest(points, centres)
    for _ in range(_ROUNDS):
        mass = np.bincount(own, weights, len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, own, points * weights[:, None])
        centres = np.where(mass[:, None] > 0.0, sums / np.maximum(mass, 1e-300)[:, None], centres)
        before, (own, squares) = own, _nearest(points, centres)
        if np.array_equal(before, own):
            break
    return own, np.sqrt(squares)


def _starts(points: Floats, weights: Floats, count: int, seed: int) -> list[int]:
    random = np.random.default_rng(seed)
    chosen = [int(random.choice(len(points), p=weights / weights.sum()))]
    nearest = np.square(points - points[chosen[0]]).sum(axis=1)
    while len(chosen) < count:
        chances = nearest * weights
        if not chances.sum() > 0.0:  # all points lie on those that were chosen
            break
        chosen.append(int(random.choice(len(points), p=chances / chances.sum())))
        nearest = np.minimum(nearest, np.square(points - points[chosen[-1]]).sum(axis=1))
    return chosen


def _nearest(points: Floats, centres: Floats) -> tuple[Whole, Floats]:
    """The nearest of the centres to each point, and the square of the distance."""
    own, squares = np.empty(len(points), dtype=np.int64), np.empty(len(points))
    lengths = np.square(centres).sum(axis=1)
    for start in range(0, len(points), _PIECE):
        part = points[start : start + _PIECE]
        found = lengths - 2.0 * part @ centres.T
        own[start : start + _PIECE] = found.argmin(axis=1)
        squares[start : start + _PIECE] = found.min(axis=1) + np.square(part).sum(axis=1)
    return own, np.maximum(squares, 0.0)
