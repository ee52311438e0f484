"""The learning rate of each step."""

from __future__ import annotations

import math

import torch


def learning_rate_at(step: int, *, steps: int, peak: float, warmup: float) -> float:
    """Linear rise over the first `warmup` share of `steps`, then a half cosine down to zero.

    A function of the step alone, so a resumed run needs no scheduler state.
    """
    rise = max(1, round(steps * warmup))
    if step < rise:
        return peak * (step + 1) / rise
    share = (step - rise) / max(1, steps - rise)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, share)))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value
