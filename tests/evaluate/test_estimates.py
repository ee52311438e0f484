from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from gformer_cli.evaluate.estimates import missed
from gformer_cli.evaluate.results import Cell, Results

MakeCell = Callable[..., Cell]


def test_errors_are_absolute_and_each_cell_counts_alike(make_cell: MakeCell) -> None:
    cells = [
        make_cell("source", "fog", [2], estimates={"confidence": 0.6, "aetta": 0.3}),  # 0.4
        make_cell("source", "night", [4], estimates={"confidence": 0.7, "aetta": 0.8}),  # 0.8
        make_cell("lame", "fog", [2], estimates={"confidence": 1.0, "aetta": 0.4}),
        make_cell("lame", "night", [4], estimates={"confidence": 0.9}),
        make_cell("bn", "fog", [2]),
    ]
    source, lame = missed(cells, ["source", "lame", "bn"])
    assert (source.method, source.cells) == ("source", 2)
    assert source.errors == {"confidence": pytest.approx(0.15), "aetta": pytest.approx(0.05)}
    assert lame.errors == {"confidence": pytest.approx(0.35)}, "AETTA could not be had everywhere"


def test_estimates_are_in_the_files(make_cell: MakeCell) -> None:
    results = Results({}, ["source"], [make_cell("source", "fog", [2], estimates={"confidence": 0.75})], [])
    document = results.to_json()
    assert document["cells"][0]["estimates"] == {"confidence": 0.75}
    errors = {"confidence": pytest.approx(0.35)}
    assert document["estimates"] == [{"method": "source", "cells": 1, "mean_absolute_error": errors}]
    (row,) = csv.DictReader(io.StringIO(results.to_csv()))
    assert (row["estimate_confidence"], row["estimate_aetta"]) == ("0.75", "")
    assert "estimates" not in row
