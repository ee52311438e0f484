from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from gformer_cli.errors import InputError
from gformer_cli.evaluate import Cell, Results
from gformer_cli.evaluate.compare import compare
from gformer_cli.evaluate.reading import Document, parse_results

MakeCell = Callable[..., Cell]
Make = Callable[..., Document]


@pytest.fixture
def document(make_cell: MakeCell) -> Make:
    """`document({"fog": [3, 4]})`: correct answers of gformer by batch of five; source has two in each."""

    def make(right: dict[str, Sequence[int]], *, method: str = "gformer", **changes: Any) -> Document:
        cells = [make_cell("source", target, [2] * len(counts), **changes) for target, counts in right.items()]
        cells += [make_cell(method, target, counts, **changes) for target, counts in right.items()]
        return parse_results(Results({}, ["source", method], cells, []).to_json())

    return make


def test_a_difference_is_b_less_a_with_a_paired_interval(document: Make) -> None:
    found = compare(document({"fog": [3, 3, 3, 3]}), document({"fog": [4, 5, 4, 5]}))
    row = found.rows[1]
    assert (row.method, row.stream, row.batch_size) == ("gformer", "stationary", 5)
    assert row.targets == {"fog": (0.6, 0.9)} and row.accuracy == (0.6, 0.9)
    assert row.difference.mean == pytest.approx(0.3)
    assert 0.2 <= row.difference.low < 0.3 < row.difference.high <= 0.4
    assert found.rows[0].difference.mean == 0.0
    assert found.only_a == found.only_b == []


def test_other_batches_give_no_interval(document: Make) -> None:
    found = compare(document({"fog": [3, 3]}), document({"fog": [4, 4, 4]}))
    assert found.rows[1].difference.mean == pytest.approx(0.2)
    assert math.isnan(found.rows[1].difference.low)


def test_targets_that_one_lacks_do_not_count(document: Make) -> None:
    found = compare(document({"fog": [3, 3], "night": [0, 0]}), document({"fog": [4, 4], "snow": [5, 5]}))
    assert found.rows[1].accuracy == pytest.approx((0.6, 0.8))
    assert found.rows[1].difference.mean == pytest.approx(0.2)
    assert not math.isnan(found.rows[1].difference.low)
    assert found.only_a == ["target night on stationary"] and found.only_b == ["target snow on stationary"]


def test_methods_that_one_lacks_are_named(document: Make) -> None:
    found = compare(document({"fog": [3, 3]}), document({"fog": [4, 4]}, method="bn"))
    assert [row.method for row in found.rows] == ["source"]
    assert found.only_a == ["gformer on stationary in batches of 5"]
    assert found.only_b == ["bn on stationary in batches of 5"]


def test_a_stream_that_one_lacks_is_named_once(document: Make) -> None:
    one, other = document({"fog": [3, 3]}), document({"fog": [3, 3]}, stream="mixed")
    both = replace(one, summaries=[*one.summaries, *other.summaries])
    assert compare(both, one).only_a == ["stream mixed in batches of 5"]


def test_nothing_in_common_is_refused(document: Make) -> None:
    with pytest.raises(InputError, match="no stream, method and target in common"):
        compare(document({"fog": [3]}), document({"night": [3]}))
    with pytest.raises(InputError, match="no stream, method and target in common"):
        compare(document({"fog": [3]}), document({"fog": [3]}, stream="mixed"))


def test_targets_are_compared_in_one_spelling(document: Make) -> None:
    """A folder's name comes decomposed from some systems; results of before kept it so."""
    found = compare(document({"de\u0301po\u0302t": [3, 3]}), document({"d\u00e9p\u00f4t": [4, 4]}))
    assert found.rows[1].targets == {"d\u00e9p\u00f4t": (0.6, 0.8)}
    assert not math.isnan(found.rows[1].difference.low)
    assert found.only_a == found.only_b == []
