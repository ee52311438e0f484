from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from gformer_cli.report.table import accuracy_table
from gformer_cli.stages.evaluate import Cell, Results


def cell(method: str, target: str, accuracy: float, *, seed: int = 0, ms: float = 2.0, ratio: float = 1.0) -> Cell:
    return Cell(method, "stationary", target, 64, seed, 100, accuracy, ms / 1000, ratio)


def lines(table: Table) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.fixture
def results() -> Results:
    """Two methods on two targets under two seeds."""
    cells = [
        cell("source", "fog", 0.5),
        cell("gformer", "fog", 0.75, ms=4.0, ratio=2.0),
        cell("source", "night", 0.25),
        cell("gformer", "night", 0.5, ms=5.0, ratio=2.5),
        cell("source", "fog", 0.5, seed=1),
        cell("gformer", "fog", 0.875, seed=1, ms=4.0, ratio=2.0),
        cell("source", "night", 0.25, seed=1),
        cell("gformer", "night", 0.5, seed=1, ms=5.0, ratio=2.5),
    ]
    return Results({}, cells, [])


def test_methods_go_down_and_targets_across_in_the_order_of_the_cells(results: Results) -> None:
    title, header, *rows = lines(accuracy_table(results))
    assert title == "Accuracy on targets, in %"
    assert header.split() == ["method", "fog", "night", "average", "ms", "per", "image", "x", "plain", "forward"]
    assert [row.split()[0] for row in rows] == ["source", "gformer"]


def test_figures_are_means_over_seeds(results: Results) -> None:
    rows = {row.split()[0]: row.split()[1:] for row in lines(accuracy_table(results))[2:]}
    # 81.25 is shown as 81.2: halves go to the even digit
    assert rows["gformer"] == ["81.2", "50.0", "65.6", "4.50", "2.25"]
    assert rows["source"] == ["50.0", "25.0", "37.5", "2.00", "1.00"]


def test_numbers_stand_under_each_other(results: Results) -> None:
    _, header, *rows = lines(accuracy_table(results))
    assert {len(row) for row in rows} == {len(header)}


def test_target_names_are_shown_as_they_are() -> None:
    header = lines(accuracy_table(Results({}, [cell("bn", "[red]犬", 1.0)], [])))[1]
    assert "[red]犬" in header
