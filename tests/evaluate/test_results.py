"""Summaries against computations by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from gformer_cli.evaluate.reading import parse_results
from gformer_cli.evaluate.results import SCHEMA_VERSION, Cell, Choice, Results, Summary
from gformer_cli.images.preprocessing import Skipped
from gformer_cli.metrics import paired_bootstrap
from gformer_cli.report.table import calibration_tables

MakeCell = Callable[..., Cell]


@pytest.fixture
def cells(make_cell: MakeCell) -> list[Cell]:
    """Two targets of unequal size, batches of five."""
    return [
        make_cell("source", "fog", [1, 2, 3, 2], cost_ratio=1.0),  # 8 of 20
        make_cell("source", "night", [4, 4]),  # 8 of 10
        make_cell("bn", "fog", [4, 4, 4, 4], cost_ratio=1.5, peak_mib=3.0),  # 16 of 20
        make_cell("bn", "night", [3, 4], cost_ratio=2.5),  # 7 of 10
        make_cell("tent", "fog", [1, 1, 1, 1]),  # 4 of 20
        make_cell("tent", "night", [5, 5], nll=0.25),  # 10 of 10
    ]


@pytest.fixture
def summaries(cells: list[Cell]) -> dict[str, Summary]:
    found = Results({}, ["source", "bn", "tent"], cells, []).summaries()
    return {summary.method: summary for summary in found}


def test_what_is_not_calibrated_stays_unknown_and_is_in_no_table(make_cell: MakeCell) -> None:
    found = Results(
        {},
        ["source", "bn"],
        [make_cell("source", "fog", [1], ece=0.2, ece_calibrated=0.05), make_cell("bn", "fog", [1], ece=0.3)],
        [],
    )
    source, bn = found.summaries()
    assert source.ece_calibrated == 0.05 and math.isnan(bn.ece_calibrated)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["ece_calibrated"] for row in rows] == ["0.05", ""]
    document = parse_results(json.loads(json.dumps(found.to_json())))
    assert [math.isnan(summary.ece_calibrated) for summary in document.summaries] == [False, True]
    (made,) = calibration_tables(found.summaries())
    assert [str(column.header) for column in made.columns] == ["stream", "batch", "source"]
    assert list(map(str, made.columns[2].cells)) == ["20.0 to 5.0"]
    assert calibration_tables([bn]) == []


def test_each_target_counts_alike(summaries: dict[str, Summary]) -> None:
    assert summaries["bn"].targets == {"fog": 0.8, "night": 0.7}
    assert summaries["bn"].accuracy == pytest.approx(0.75)
    assert summaries["bn"].cost_ratio == pytest.approx(2.0)
    assert summaries["tent"].nll == pytest.approx((0.8 + 0.25) / 2)
    assert summaries["bn"].n == 30
    assert summaries["bn"].peak_mib == 3.0


def test_harm_is_what_the_worst_target_loses(summaries: dict[str, Summary]) -> None:
    assert (summaries["bn"].worst_target, summaries["bn"].harm) == ("night", pytest.approx(0.1))
    assert (summaries["tent"].worst_target, summaries["tent"].harm) == ("fog", pytest.approx(0.2))
    assert summaries["source"].harm == 0.0


def test_harm_is_never_negative(make_cell: MakeCell) -> None:
    cells = [make_cell("source", "fog", [1, 1]), make_cell("bn", "fog", [2, 3])]
    assert Results({}, ["bn"], cells, []).summaries()[0].harm == 0.0


def test_harmed_batches_are_those_with_fewer_right_than_source(summaries: dict[str, Summary]) -> None:
    # bn: only the first batch of night; tent: the last three of fog (1 < 2, 1 < 3, 1 < 2)
    assert summaries["bn"].harmed_batches == pytest.approx(1 / 6)
    assert summaries["tent"].harmed_batches == pytest.approx(3 / 6)
    assert summaries["source"].harmed_batches == 0.0


def test_differences_are_paired_by_batch_and_weigh_targets_alike(summaries: dict[str, Summary]) -> None:
    found = summaries["bn"].to_source
    assert found is not None and found.other == "source"
    assert found.mean == pytest.approx((0.8 - 0.4 + 0.7 - 0.8) / 2)
    differences = [3 / 5, 2 / 5, 1 / 5, 2 / 5, -1 / 5, 0.0]
    weights = [5 / 20] * 4 + [5 / 10] * 2
    assert (found.low, found.high) == pytest.approx(paired_bootstrap(differences, weights))
    assert found.low < found.mean < found.high
    assert summaries["source"].to_source is None


def test_each_target_has_a_difference_of_its_own(summaries: dict[str, Summary]) -> None:
    found = summaries["bn"].to_source_by_target
    assert {target: round(difference.mean, 9) for target, difference in found.items()} == {"fog": 0.4, "night": -0.1}
    assert (found["fog"].low, found["fog"].high) == pytest.approx(
        paired_bootstrap([3 / 5, 2 / 5, 1 / 5, 2 / 5], [5 / 20] * 4)
    )
    assert found["fog"].low < found["fog"].mean < found["fog"].high
    assert summaries["source"].to_source_by_target == {}


def test_the_best_other_method_is_the_one_with_the_highest_average(summaries: dict[str, Summary]) -> None:
    # averages: source 0.6, bn 0.75, tent 0.6
    others = {name: summary.to_best_other for name, summary in summaries.items()}
    assert {name: other and other.other for name, other in others.items()} == {
        "source": "bn",
        "tent": "bn",
        "bn": "source",  # of two equals the first by name
    }
    assert others["tent"] is not None and others["tent"].mean == pytest.approx(0.6 - 0.75)


def test_the_reference_counts_as_other_though_it_is_not_shown(cells: list[Cell]) -> None:
    (summary,) = Results({}, ["bn"], [c for c in cells if c.method != "tent"], []).summaries()
    assert summary.to_best_other is not None and summary.to_best_other.other == "source"


def test_the_source_alone_has_nothing_to_differ_from(make_cell: MakeCell) -> None:
    (summary,) = Results({}, ["source"], [make_cell("source", "fog", [1])], []).summaries()
    assert summary.to_source is None and summary.to_best_other is None
    assert summary.harm == 0.0 and math.isnan(summary.standard_error)


def test_the_standard_error_is_over_seeds(make_cell: MakeCell) -> None:
    cells = [
        make_cell(method, target, [right], seed=seed)
        for method, table in {"source": [(1, 1), (1, 1), (1, 1)], "bn": [(5, 1), (3, 2), (4, 3)]}.items()
        for seed, rights in enumerate(table)
        for target, right in zip(("fog", "night"), rights, strict=True)
    ]
    summary = Results({}, ["bn"], cells, []).summaries()[0]
    averages = [0.6, 0.5, 0.7]
    assert summary.accuracy == pytest.approx(np.mean(averages))
    assert summary.standard_error == pytest.approx(np.std(averages, ddof=1) / math.sqrt(3))
    assert summary.to_source is not None and summary.to_source.mean == pytest.approx(0.4)


def test_streams_and_batch_sizes_are_summed_up_apart(make_cell: MakeCell) -> None:
    cells = [
        make_cell(method, "fog", [right], stream=stream, batch_size=size)
        for stream, size, right in (("stationary", 8, 1), ("batch-sizes", 1, 2), ("batch-sizes", 8, 3))
        for method in ("source", "bn")
    ]
    found = Results({}, ["bn"], cells, []).summaries()
    assert [(s.stream, s.batch_size, s.accuracy) for s in found] == [
        ("stationary", 8, 0.2),
        ("batch-sizes", 1, 0.4),
        ("batch-sizes", 8, 0.6),
    ]


def test_severities_of_a_corruption_are_one_target(make_cell: MakeCell) -> None:
    cells = [
        make_cell(method, "fog", [right], severity=severity)
        for method, rights in {"source": [2, 1], "bn": [4, 1]}.items()
        for severity, right in enumerate(rights, start=1)
    ]
    summary = Results({}, ["bn"], cells, []).summaries()[0]
    assert summary.targets == {"fog": 0.5}
    assert summary.to_source is not None and summary.to_source.mean == pytest.approx(0.2)


def test_the_document_holds_what_was_asked_for(cells: list[Cell]) -> None:
    results = Results(
        {"file": "m"}, ["bn"], cells, [Skipped("fog/a.png", "broken")], {"bn": Choice({"a": 1}, 0.5, 0.25, 3)}
    )
    document = results.to_json()
    json.dumps(document, allow_nan=False)
    assert document["schema_version"] == SCHEMA_VERSION and document["bundle"] == {"file": "m"}
    assert {cell["method"] for cell in document["cells"]} == {"bn"} == {s["method"] for s in document["summaries"]}
    assert document["summaries"][0]["standard_error"] is None  # not a number is null
    assert document["skipped"] == [{"path": "fog/a.png", "reason": "broken"}]
    assert document["tuned"] == {"bn": {"settings": {"a": 1}, "accuracy": 0.5, "default_accuracy": 0.25, "tried": 3}}


def test_the_csv_has_a_row_a_cell_and_no_lists(cells: list[Cell]) -> None:
    rows = list(csv.DictReader(io.StringIO(Results({}, ["bn", "tent"], cells, []).to_csv())))
    assert [(row["method"], row["target"], row["accuracy"]) for row in rows] == [
        ("bn", "fog", "0.8"),
        ("bn", "night", "0.7"),
        ("tent", "fog", "0.2"),
        ("tent", "night", "1.0"),
    ]
    assert {"stream", "n", "macro_f1", "cost_ratio", "predictions"} <= set(rows[0])
    assert not {"batch_images", "batch_correct", "calibration"} & set(rows[0])
