from __future__ import annotations

from collections.abc import Callable

import pytest

from gformer_cli.evaluate import Cell, Results
from gformer_cli.evaluate.harm import Harm, Loss, by_cell, harms

MakeCell = Callable[..., Cell]


@pytest.fixture
def results(make_cell: MakeCell) -> Results:
    """`bn` gains 10 points on fog and loses 1 at night; in waves it loses 2 and 30. `source` is not asked for."""
    right = {
        ("source", "stationary"): (50, 60),
        ("bn", "stationary"): (60, 59),
        ("tent", "stationary"): (50, 60),
        ("source", "label-shift"): (50, 60),
        ("bn", "label-shift"): (48, 30),
        ("tent", "label-shift"): (50, 60),
    }
    cells = [
        make_cell(method, target, [count], images=[100], stream=stream, batch_size=100)
        for (method, stream), counts in right.items()
        for target, count in zip(("fog", "night"), counts, strict=True)
    ]
    return Results({}, ["bn", "tent"], cells, [])


def test_every_target_of_every_stream_is_a_cell(results: Results) -> None:
    bn, tent = harms(results.summaries())
    assert [(cell.stream, cell.target, round(cell.loss, 6)) for cell in bn.cells] == [
        ("stationary", "fog", -0.1),
        ("stationary", "night", 0.01),
        ("label-shift", "fog", 0.02),
        ("label-shift", "night", 0.3),
    ]
    assert (bn.worst.stream, bn.worst.target, bn.worst.batch_size) == ("label-shift", "night", 100)
    assert bn.bearable == 0.5  # a loss of one point is one that is borne
    assert tent.worst.loss == 0.0 and tent.bearable == 1.0


def test_a_method_that_only_gains_has_lost_nothing_and_nowhere(results: Results) -> None:
    bn, tent = harms(results.summaries())
    assert bn.lost_most == ("night, label-shift, batches of 100", pytest.approx(0.3))
    assert tent.lost_most == ("", 0.0)
    gains = Harm("a", [Loss("s", 1, "x", -0.01), Loss("s", 1, "y", -0.2)])
    assert gains.lost_most == ("", 0.0) and gains.to_json()["worst"]["loss"] == -0.01


def test_source_is_not_compared_with_itself(make_cell: MakeCell) -> None:
    cells = [make_cell("source", "fog", [1, 1]), make_cell("bn", "fog", [2, 3])]
    assert [harm.method for harm in harms(Results({}, ["source", "bn"], cells, []).summaries())] == ["bn"]


def test_it_is_in_the_document(results: Results) -> None:
    bn, _ = results.to_json()["harm"]
    assert bn["method"] == "bn" and bn["bearable"] == 0.5 and len(bn["cells"]) == 4
    assert bn["worst"] == {"stream": "label-shift", "batch_size": 100, "target": "night", "loss": pytest.approx(0.3)}


def test_a_cell_that_one_method_lacks_has_no_figure_there() -> None:
    one = Harm("a", [Loss("s", 1, "x", 0.1), Loss("s", 1, "y", 0.2)])
    other = Harm("b", [Loss("s", 1, "y", 0.3)])
    assert repr(by_cell([one, other])) == repr({("s", 1, "x"): [0.1, float("nan")], ("s", 1, "y"): [0.2, 0.3]})
