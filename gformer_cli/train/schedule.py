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


PARTS = 5
"""In the last of so many equal parts of all steps a learning rate that was held falls to zero."""


def longest_hold(steps: int) -> int:
    """How long a learning rate is held at most, where all steps are `steps`; at least 1."""
    return steps - steps // PARTS


def end_after(hold: int, steps: int) -> int:
    """All steps, where the learning rate falls after `hold` of them: at most `steps`."""
    return min(steps, -(-hold * PARTS // (PARTS - 1)))


def held_rate_at(step: int, *, hold: int | None, steps: int, peak: float, warmup: float) -> float:
    """Linear rise over the first `warmup` share of `steps`, then `peak`, and after `hold` steps a linear fall to zero.

    Where `hold` is None it does not fall: that may be decided on the way, as no step before depends on it.
    """
    rate = peak * min(1.0, (step + 1) / max(1, round(steps * warmup)))
    if hold is None or step < hold:
        return rate
    left = end_after(hold, steps) - step
    return rate * max(0, left) / (end_after(hold, steps) - hold + 1)


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value
