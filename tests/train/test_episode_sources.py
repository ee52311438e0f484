from __future__ import annotations

from collections import Counter

import pytest

from gformer_cli.train.episode_sources import runs_of_step


@pytest.mark.parametrize("per_step", [None, 5, 9])
def test_every_run_has_episodes_in_a_step_unless_fewer_are_asked_for(per_step: int | None) -> None:
    assert [list(runs_of_step(seed, 3, 5, per_step)) for seed in (0, 1)] == [[0, 1, 2, 3, 4]] * 2


@pytest.mark.parametrize(("runs", "per_step", "block"), [(6, 2, 3), (5, 3, 5), (4, 1, 4), (6, 4, 3)])
def test_fewer_runs_are_drawn_each_once_a_step_and_equally_often(runs: int, per_step: int, block: int) -> None:
    for first in (0, block, 7 * block):
        drawn = [list(runs_of_step(0, step, runs, per_step)) for step in range(first, first + block)]
        assert all(len(set(one)) == per_step for one in drawn)
        counts = Counter(run for one in drawn for run in one)
        assert counts == dict.fromkeys(range(runs), block * per_step // runs)


def test_which_runs_are_drawn_depends_on_seed_and_step_alone() -> None:
    drawn = {seed: [list(runs_of_step(seed, step, 6, 2)) for step in range(12)] for seed in (0, 1)}
    assert drawn[0] != drawn[1]
    assert drawn[0][:3] != drawn[0][3:6]  # shuffled anew
    assert list(runs_of_step(0, 7, 6, 2)) == drawn[0][7]
