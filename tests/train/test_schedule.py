from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from gformer_cli.train.schedule import (
    end_after,
    held_rate_at,
    learning_rate_at,
    longest_hold,
    set_learning_rate,
)


def rates(steps: int, warmup: float, peak: float = 2.0) -> list[float]:
    return [learning_rate_at(step, steps=steps, peak=peak, warmup=warmup) for step in range(steps + 1)]


def test_learning_rate_rises_linearly_to_its_peak() -> None:
    assert rates(100, 0.1)[:11] == pytest.approx([2.0 * (step + 1) / 10 for step in range(10)] + [2.0])


def test_learning_rate_falls_by_half_a_cosine_to_zero() -> None:
    found = rates(100, 0.1)
    assert found[55] == pytest.approx(1.0)
    assert found[10 + 30] == pytest.approx(1.0 + math.cos(math.pi / 3))
    assert found[100] == pytest.approx(0.0, abs=1e-12)
    assert all(after < before for before, after in pairwise(found[10:]))


def test_learning_rate_is_never_zero_while_training_and_never_negative_after() -> None:
    for steps in (1, 2, 3, 50):
        for warmup in (0.0, 0.1, 1.0):
            assert min(rates(steps, warmup)[:steps]) > 0.0
    assert learning_rate_at(500, steps=100, peak=2.0, warmup=0.1) == 0.0


def test_no_warmup_starts_at_the_peak_and_full_warmup_ends_there() -> None:
    assert rates(50, 0.0)[0] == 2.0
    full = rates(50, 1.0)[:50]
    assert full[-1] == max(full) == 2.0 and full[0] == pytest.approx(2.0 / 50)


def test_set_learning_rate_reaches_every_group() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.2)]
    optimizer = torch.optim.SGD(groups, lr=0.3)
    set_learning_rate(optimizer, 0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]


def held(hold: int | None, steps: int = 100, warmup: float = 0.1) -> list[float]:
    return [held_rate_at(step, hold=hold, steps=steps, peak=2.0, warmup=warmup) for step in range(steps + 1)]


def test_a_held_learning_rate_rises_and_stays() -> None:
    assert held(None) == pytest.approx([2.0 * (step + 1) / 10 for step in range(10)] + [2.0] * 91)


@pytest.mark.parametrize("hold", [40, 80])
def test_a_held_learning_rate_falls_to_zero_in_the_last_fifth(hold: int) -> None:
    end, found = end_after(hold, 100), held(hold)
    assert end == hold * 5 / 4 and found[:hold] == held(None)[:hold]
    assert min(found[:end]) > 0.0 and found[end] == 0.0
    steps = {before - after for before, after in pairwise(found[hold - 1 : end + 1])}
    assert max(steps) == pytest.approx(min(steps)) == pytest.approx(2.0 / (end - hold + 1))


def test_no_hold_takes_training_past_its_steps() -> None:
    for steps in range(1, 200):
        assert end_after(longest_hold(steps), steps) == steps
        assert all(hold < end_after(hold, steps) <= steps for hold in range(1, longest_hold(steps)))
