from __future__ import annotations

from collections.abc import Callable

import pytest

from gformer_cli.evaluate import Cell
from gformer_cli.evaluate.series import along, chunks


def test_chunks_are_of_one_length_and_never_empty() -> None:
    assert chunks(range(7), 3) == [range(2), range(2, 4), range(4, 7)]
    assert chunks([1, 2], 5) == [[1], [2]]
    assert chunks([], 5) == []


def test_neighbouring_batches_share_a_step_by_their_images(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell("bn", "fog", [4, 0, 1, 1], images=[4, 4, 4, 2])
    assert along([cell], 2) == pytest.approx([4 / 8, 2 / 6])
    assert along([cell], 9) == pytest.approx([1.0, 0.0, 0.25, 0.5])


def test_targets_count_alike_and_the_shortest_sets_the_steps(make_cell: Callable[..., Cell]) -> None:
    cells = [make_cell("bn", "fog", [5, 5, 0, 0]), make_cell("bn", "night", [0, 5])]
    assert along(cells, 9) == pytest.approx([0.5, 0.5])
    assert along([], 9) == []
