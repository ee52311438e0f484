from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.bundle import Bundle
from gformer_cli.data.streams import Stream
from gformer_cli.errors import InputError
from gformer_cli.evaluate import Cell, Choice, Plan
from gformer_cli.evaluate.records import Records, describe_bundle, identity
from gformer_cli.images.preprocessing import Skipped

IDENTITY = {"bundle": "abc"}
FOG = Stream("stationary", "fog", 8, ())
SHIFT = Stream("shifts", "fog", 8, (), severity=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cells.jsonl"


@pytest.fixture
def cells(make_cell: Callable[..., Cell]) -> list[Cell]:
    return [make_cell("bn", "fog 犬\u2028", [3, 2]), make_cell("bn", "night", [1], nll=float("nan"))]


def same(one: Cell, two: Cell) -> bool:
    return json.dumps(vars(one)) == json.dumps(vars(two))  # not a number is not equal to itself


def test_what_was_written_comes_back(path: Path, cells: list[Cell]) -> None:
    records = Records.open(path, IDENTITY, resume=False)
    records.choose("bn", Choice({"prior_count": 4.0}, 0.5, 0.25, 5))
    records.add(0, FOG, cells, [Skipped("fog/a.png", "broken")])
    records.add(1, SHIFT, cells[:1], [])
    found = Records.open(path, IDENTITY, resume=True)
    assert all(same(one, two) for one, two in zip(found.cells, [*cells, cells[0]], strict=True))
    assert found.skipped == {"fog/a.png": Skipped("fog/a.png", "broken")}
    assert found.choices == {"bn": Choice({"prior_count": 4.0}, 0.5, 0.25, 5)}
    assert len(found) == 2
    assert found.has(0, FOG) and found.has(1, SHIFT)
    others = [(1, FOG), (0, SHIFT), (1, replace(SHIFT, severity=4)), (0, replace(FOG, batch_size=4))]
    others += [(0, replace(FOG, part="night")), (0, replace(FOG, kind="mixed"))]
    assert not any(found.has(seed, stream) for seed, stream in others)


@pytest.mark.parametrize("cut", [1, 20, 500])
def test_a_line_that_was_cut_off_is_dropped_and_the_file_goes_on(path: Path, cells: list[Cell], cut: int) -> None:
    records = Records.open(path, IDENTITY, resume=False)
    records.add(0, FOG, cells, [])
    whole = path.read_bytes()
    records.add(1, FOG, cells, [])
    path.write_bytes(path.read_bytes()[:-cut])
    found = Records.open(path, IDENTITY, resume=True)
    assert found.has(0, FOG) and not found.has(1, FOG)
    assert path.read_bytes() == whole
    found.add(1, FOG, cells, [])
    assert len(Records.open(path, IDENTITY, resume=True)) == 2


def test_every_cut_through_the_last_line_can_be_resumed(path: Path, cells: list[Cell]) -> None:
    records = Records.open(path, IDENTITY, resume=False)
    start = path.stat().st_size
    records.add(0, FOG, cells, [])
    content = path.read_bytes()
    for length in range(start, len(content)):  # also in the middle of a letter of several bytes
        path.write_bytes(content[:length])
        assert len(Records.open(path, IDENTITY, resume=True)) == 0


def test_records_of_another_evaluation_are_refused_and_kept(path: Path, cells: list[Cell]) -> None:
    Records.open(path, IDENTITY, resume=False).add(0, FOG, cells, [])
    before = path.read_bytes()
    with pytest.raises(InputError, match="begun with another bundle, other images or other options"):
        Records.open(path, {"bundle": "other"}, resume=True)
    assert path.read_bytes() == before


def test_an_empty_file_cannot_be_resumed(path: Path) -> None:
    path.write_text("")
    with pytest.raises(InputError, match="--overwrite"):
        Records.open(path, IDENTITY, resume=True)


def test_without_a_path_nothing_is_written(tmp_path: Path, cells: list[Cell]) -> None:
    records = Records()
    records.add(0, FOG, cells, [])
    records.choose("bn", Choice({}, 0.5, 0.5, 1))
    assert records.has(0, FOG) and list(tmp_path.iterdir()) == []


def test_the_identity_changes_with_whatever_changes_figures(make_plan: Callable[..., Plan]) -> None:
    described = {"sha256": "abc", "file": "m"}
    plan = make_plan("bn")
    renamed = [replace(plan.targets[0], name="other"), *plan.targets[1:]]
    fewer = [replace(plan.targets[0], files=plan.targets[0].files[1:]), *plan.targets[1:]]
    changed: list[Any] = [
        identity(described | {"sha256": "def"}, plan, tune=False),
        identity(described, plan, tune=True),
        *(
            identity(described, replace(plan, **change), tune=False)
            for change in (
                {"methods": ["bn", "tent"]},
                {"streams": ["mixed"]},
                {"batch_size": 5},
                {"seeds": [1]},
                {"skew": 0.0},
                {"source": plan.targets},
                {"targets": renamed},
                {"targets": fewer},
            )
        ),
        *(
            identity(described, replace(plan, streams=["shifts"], **change), tune=False)
            for change in ({}, {"corruptions": ["fog"]}, {"severities": [5]})
        ),
    ]
    texts = {json.dumps(found) for found in [identity(described, plan, tune=False), *changed]}
    assert len(texts) == 1 + len(changed)
    assert identity(described | {"file": "moved"}, plan, tune=False) == identity(described, plan, tune=False)


def test_a_bundle_is_described_by_its_content(bundle: Bundle, _bundle_file: Path) -> None:
    found = describe_bundle(_bundle_file, bundle)
    assert found["file"] == "model.gformer" and found["classes"] == ["dark", "light"]
    assert found["data_fingerprint"] == bundle.header.data.fingerprint
    assert len(found["sha256"]) == 64 and found["generator"] == "channel"


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"key": 3, "cells": [], "skipped": []}',
        b'{"key": [], "cells": [{}], "skipped": []}',
        b'{"key": [], "cells": [], "skipped": [{"path": 3}]}',
        b'{"key": [[]], "cells": [], "skipped": []}',
        b'{"tuned": "bn", "choice": 3}',
    ],
)
def test_a_damaged_line_is_told_by_number(path: Path, cells: list[Cell], line: bytes) -> None:
    Records.open(path, IDENTITY, resume=False).add(0, FOG, cells, [])
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(InputError, match=r"line 3 of .*cells\.jsonl is damaged") as caught:
        Records.open(path, IDENTITY, resume=True)
    assert "--overwrite" in caught.value.hint


@pytest.mark.parametrize("line", [b"not json", b"[]", b"3"])
def test_a_damaged_first_line_is_told(path: Path, line: bytes) -> None:
    path.write_bytes(line + b"\n")
    with pytest.raises(InputError, match="line 1 of"):
        Records.open(path, IDENTITY, resume=True)
