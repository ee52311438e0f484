"""Calibrating a guard: from batches whose nature is known to the ranges, scores and limits of `guard.rule.Guard`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gformer_cli.guard.rule import FURTHEST, Guard, Score
from gformer_cli.guard.signals import WEIGHED

CLEAN, ONE_CLASS, HOSTILE = "clean", "one_class", "hostile"
STRANGE, COSTLY = 0.025, 0.02
"""Shares of clean batches that the strangeness and the expected loss may put above their limits."""
MISSED = 0.03
"""Share of hostile batches that may stay below the limit, where clean ones leave room for it."""
KEPT = 0.97
"""Share of the accuracy gained on clean batches that the limit of the expected loss must keep."""
HARMLESS = 0.005
"""Accuracy, half a point: a smaller loss is none."""
_RIDGE = 0.003
"""Penalty on weights, per batch."""


@dataclass(frozen=True)
class CalibrationBatch:
    """What one batch of known nature shows, for the calibration."""

    kind: str
    """`clean`: labelled images under any shift; `one_class`: such images of one class; `hostile`: anything else."""
    size: int
    """The calibrated size that it stands for."""
    signals: dict[str, float]
    gain: float | None
    """Accuracy of the generated parameters minus that of the source model; None without labels."""


def fit_guard(batches: Sequence[CalibrationBatch]) -> Guard:
    """The guard that `batches` ask for. Each size needs clean batches; hostile ones must be there.

    However many batches there are of a size, all sizes weigh alike. Readings are standardised by the clean batches of
    a size. The strangeness is a logistic regression on readings and their squares of hostile against clean batches,
    both kinds weighing alike; its limit lies half-way between the two where they leave a gap, else at the quantile of
    the clean ones. The expected loss is a ridge regression on the labelled batches; its limit is the lowest that keeps
    `KEPT` of the gain and flags no more than `COSTLY`.
    """
    sizes = tuple(sorted({batch.size for batch in batches}))
    clean = [batch for batch in batches if batch.kind == CLEAN]
    labelled = [batch for batch in batches if batch.gain is not None]
    hostile = [batch for batch in batches if batch.kind == HOSTILE]
    typical: dict[str, tuple[float, ...]] = {}
    spread: dict[str, tuple[float, ...]] = {}
    for name in WEIGHED:
        values = [torch.tensor([b.signals[name] for b in clean if b.size == size]).double() for size in sizes]
        typical[name] = tuple(float(own.quantile(0.5)) for own in values)
        spread[name] = tuple(float(own.std(correction=0)) + 1e-3 for own in values)

    def readings(chosen: Sequence[CalibrationBatch]) -> torch.Tensor:
        """(N, signals + 1): the last column is the constant."""
        rows = []
        for batch in chosen:
            place = sizes.index(batch.size)
            own = [(batch.signals[n] - typical[n][place]) / spread[n][place] for n in WEIGHED]
            rows.append([max(-FURTHEST, min(FURTHEST, value)) for value in own] + [1.0])
        return torch.tensor(rows, dtype=torch.float64)

    of_clean, of_hostile, of_labelled = readings(clean), readings(hostile), readings(labelled)
    share, of_all = _sizes_alike(clean), _sizes_alike(labelled)
    curved_clean, curved_hostile = _with_squares(of_clean), _with_squares(of_hostile)
    ood_weights = _logistic(curved_clean, share, curved_hostile)
    clean_scores, hostile_scores = curved_clean @ ood_weights, curved_hostile @ ood_weights
    highest, lowest = _quantile(clean_scores, share, 1.0 - STRANGE), float(hostile_scores.quantile(MISSED))
    limit = max(highest, 0.5 * (highest + lowest))

    loss = _ridge(of_labelled, -_gains(labelled), of_all)
    allowed = _loss_limit(of_clean @ loss, _gains(clean), share)
    return Guard(
        sizes=sizes,
        typical=typical,
        spread=spread,
        strangeness=_score(
            ood_weights[len(WEIGHED) :], limit, max(limit, float(hostile_scores.quantile(0.5))), _named(ood_weights)
        ),
        expected_loss=_score(loss, allowed, 2.0 * allowed, {}),
        smallest_batch=float(_smallest_batch(clean, sizes)),
    )


def _with_squares(readings: torch.Tensor) -> torch.Tensor:
    """(N, signals + 1) to (N, 2 signals + 1): hostile batches may lie on either side of the clean ones."""
    own = readings[:, :-1]
    return torch.cat([own.square() / FURTHEST, readings], dim=1)


def _score(weights: torch.Tensor, limit: float, far: float, squares: dict[str, float]) -> Score:
    """Of `weights` (signals + 1), the last of which is the constant."""
    return Score(_named(weights), float(weights[-1]), limit, far, squares)


def _named(weights: torch.Tensor) -> dict[str, float]:
    """The first weights by the signals that they belong to."""
    return dict(zip(WEIGHED, weights[: len(WEIGHED)].tolist(), strict=True))


def _sizes_alike(batches: Sequence[CalibrationBatch]) -> torch.Tensor:
    """(N,) weights of mean 1, with the same sum for every size."""
    count = Counter(batch.size for batch in batches)
    return torch.tensor([len(batches) / len(count) / count[b.size] for b in batches], dtype=torch.float64)


def _gains(batches: Sequence[CalibrationBatch]) -> torch.Tensor:
    return torch.tensor([batch.gain for batch in batches], dtype=torch.float64)


def _quantile(values: torch.Tensor, share: torch.Tensor, where: float) -> float:
    """The lowest of `values` with `where` of all weight at it or below."""
    values, order = values.sort()
    reached = share[order].cumsum(0) >= where * share.sum() - 1e-9
    return float(values[reached][0])


def _logistic(zeros: torch.Tensor, share_of_zeros: torch.Tensor, ones: torch.Tensor) -> torch.Tensor:
    """Weights of a ridge logistic regression, the two classes weighing alike, by Newton's method."""
    rows = torch.cat([zeros, ones])
    wanted = torch.cat([rows.new_zeros(len(zeros)), rows.new_ones(len(ones))])
    share = torch.cat([share_of_zeros / len(zeros), rows.new_full((len(ones),), 1.0 / len(ones))]) * 0.5 * len(rows)
    penalty = _penalty(rows)
    weights = rows.new_zeros(rows.shape[1])
    for _ in range(25):
        odds = (rows @ weights).sigmoid()
        slope = rows.t() @ (share * (odds - wanted)) + penalty @ weights
        bend = (rows * (share * odds * (1.0 - odds))[:, None]).t() @ rows + penalty
        weights = weights - torch.linalg.solve(bend, slope)
    return weights


def _ridge(rows: torch.Tensor, wanted: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Weights of a least-squares fit with a penalty on all but the constant."""
    weighted = rows * share[:, None]
    weights: torch.Tensor = torch.linalg.solve(weighted.t() @ rows + _penalty(rows), weighted.t() @ wanted)
    return weights


def _penalty(rows: torch.Tensor) -> torch.Tensor:
    own = torch.full((rows.shape[1],), _RIDGE * len(rows), dtype=rows.dtype)
    own[-1] = 1e-6
    return own.diag()


def _loss_limit(expected: torch.Tensor, gains: torch.Tensor, share: torch.Tensor) -> float:
    """The lowest limit of the expected loss under which clean batches keep their gain; never below `HARMLESS`."""
    total = float((share * gains).sum())
    for value in sorted({max(HARMLESS, float(v)) for v in expected}):
        refused = expected > value
        if float(share[refused].sum() / share.sum()) > COSTLY:
            continue
        if float((share * gains)[~refused].sum()) >= KEPT * total:
            return value
    return max(HARMLESS, float(expected.max()))


def _smallest_batch(clean: Sequence[CalibrationBatch], sizes: Sequence[int]) -> int:
    """The smallest size from which on no size loses accuracy on clean batches; beyond all sizes if the largest does."""
    smallest = 2 * sizes[-1]
    for size in reversed(sizes):
        gains = [batch.gain for batch in clean if batch.size == size and batch.gain is not None]
        if math.fsum(gains) < -HARMLESS * len(gains):
            break
        smallest = size
    return smallest
