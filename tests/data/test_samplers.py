"""Sampling is a pure function of a seed and a position."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gformer_cli.data.samplers import EndlessShuffle, shares


@pytest.mark.slow
@given(count=st.integers(1, 20), seed=st.integers(0, 1000))
def test_every_round_holds_each_item_once(count: int, seed: int) -> None:
    items = [10 * number for number in range(count)]
    shuffle = EndlessShuffle(items, seed)
    for number in range(3):
        assert sorted(shuffle.take(number * count, count)) == items


@given(start=st.integers(0, 50), count=st.integers(0, 20), before=st.integers(0, 50))
def test_what_is_taken_depends_on_the_position_alone(start: int, count: int, before: int) -> None:
    used = EndlessShuffle(range(7), seed=3)
    used.take(before, 9)
    one_by_one = [EndlessShuffle(range(7), seed=3).take(place, 1)[0] for place in range(start, start + count)]
    assert used.take(start, count) == one_by_one


def test_rounds_differ_in_order() -> None:
    shuffle = EndlessShuffle(range(20), seed=0)
    assert shuffle.take(0, 20) != shuffle.take(20, 20)


def test_seeds_differ_in_order() -> None:
    assert EndlessShuffle(range(20), seed=0).take(0, 20) != EndlessShuffle(range(20), seed=1).take(0, 20)


@pytest.mark.parametrize(
    ("total", "parts", "expected"),
    [(64, 4, [16, 16, 16, 16]), (10, 4, [3, 3, 2, 2]), (2, 4, [1, 1, 1, 1]), (5, 1, [5])],
)
def test_shares_are_as_even_as_whole_numbers_allow(total: int, parts: int, expected: list[int]) -> None:
    assert shares(total, parts) == expected


@given(parts=st.integers(1, 20), extra=st.integers(0, 100))
def test_shares_add_up_when_there_is_one_for_each(parts: int, extra: int) -> None:
    found = shares(parts + extra, parts)
    assert sum(found) == parts + extra
    assert max(found) - min(found) <= 1
