"""The guard's rule in tensors alone, for a graph that decides without Python. Its numbers are those of `rule.Guard`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gformer_cli.guard.rule import BLENDED, DECISIONS, FURTHEST, GENERATED, SOURCE, Guard, Score

CODES = {name: code for code, name in enumerate(DECISIONS)}
"""Of each decision: 0 generated, 1 blended, 2 source."""


@dataclass(frozen=True)
class Decided:
    """What `rule.Verdict` says of one batch, in scalars."""

    decision: torch.Tensor
    """One of `CODES`, int64."""
    share: torch.Tensor
    """Of what was generated, float64 in [0, 1]."""
    strangeness: torch.Tensor
    """float64, as `expected_loss`."""
    expected_loss: torch.Tensor


def decide(guard: Guard, batch_size: int, signals: Mapping[str, torch.Tensor]) -> Decided:
    """The verdict of `guard` on a batch of `batch_size` images by its `signal_tensors`.

    Scores are float64, as Python's numbers are: near a limit a narrower one would decide otherwise.
    """
    wide = {name: value.double() for name, value in signals.items()}
    count = torch.scalar_tensor(batch_size, dtype=torch.float64, device=next(iter(wide.values())).device)
    readings = {name: _reading(guard, name, value, count) for name, value in wide.items() if name in guard.typical}
    strangeness, expected_loss = (_score(score, readings) for score in (guard.strangeness, guard.expected_loss))
    share = torch.minimum(_share(guard.strangeness, strangeness), _share(guard.expected_loss, expected_loss))
    told = torch.stack(list(wide.values())).isfinite().all() & (count >= guard.smallest_batch)
    share = torch.where(told, share, torch.zeros_like(share))
    partial = torch.where(share == 0.0, CODES[SOURCE], CODES[BLENDED])
    return Decided(torch.where(share == 1.0, CODES[GENERATED], partial), share, strangeness, expected_loss)


def _reading(guard: Guard, name: str, value: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    middle, unit = (_at(guard.sizes, table[name], count) for table in (guard.typical, guard.spread))
    return ((value - middle) / unit).clamp(-FURTHEST, FURTHEST)


def _at(sizes: Sequence[int], values: Sequence[float], count: torch.Tensor) -> torch.Tensor:
    """`values` at the `sizes`, interpolated in log size, and constant beyond the first and the last."""
    logs = torch.tensor(sizes, dtype=count.dtype, device=count.device).log()
    found = torch.full_like(count, values[0])
    for index in range(1, len(sizes)):
        place = ((count.log() - logs[index - 1]) / (logs[index] - logs[index - 1])).clamp(0.0, 1.0)
        found = found + place * (values[index] - values[index - 1])
    return found


def _score(score: Score, readings: Mapping[str, torch.Tensor]) -> torch.Tensor:
    parts = [
        readings[name] * (weight + score.squares.get(name, 0.0) * readings[name] / FURTHEST)
        for name, weight in score.weights.items()
    ]
    return torch.stack(parts).sum() + score.constant


def _share(score: Score, value: torch.Tensor) -> torch.Tensor:
    """1 up to the limit, 0 from `far` on."""
    falling = (score.far - value) / max(score.far - score.limit, 1e-12)
    beyond = torch.where(value >= score.far, torch.zeros_like(value), falling)
    return torch.where(value <= score.limit, torch.ones_like(value), beyond)
