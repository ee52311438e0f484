"""Streams in processes of their own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import torch

from gformer_cli.bundle import Bundle, load_bundle
from gformer_cli.errors import InputError, WorkError
from gformer_cli.evaluate import Cell, Plan, measure
from gformer_cli.evaluate.records import Records
from gformer_cli.folders.domains import Domain

CPU = torch.device("cpu")


def what(cell: Cell) -> tuple[object, ...]:
    """All but times and the last bits, which the number of threads decides."""
    return (
        cell.method,
        cell.place,
        cell.n,
        cell.batch_images,
        cell.batch_correct,
        cell.predictions,
        cell.forwards,
        cell.backwards,
    )


@pytest.mark.slow
def test_several_at_once_find_what_one_by_one_finds_in_the_same_order(
    _bundle_file: Path, make_plan: Callable[..., Plan]
) -> None:
    plan = make_plan("bn", "tent", streams=("stationary", "mixed"))
    load = partial(load_bundle, _bundle_file)
    one = measure(load, plan, device=CPU, workers=0)
    two = measure(load, plan, device=CPU, workers=0, jobs=2)
    assert [what(cell) for cell in two.cells] == [what(cell) for cell in one.cells]
    assert all(cell.cost_ratio > 0.0 and cell.forwards >= 1.0 for cell in two.cells)
    assert any(cell.backwards >= 1.0 for cell in two.cells)


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_in_full(
    _bundle_file: Path, make_plan: Callable[..., Plan], own_domains: list[Domain]
) -> None:
    own_domains[0].files[0].path.write_bytes(b"")
    plan = replace(make_plan("bn"), targets=own_domains)
    with pytest.raises(InputError, match="unreadable image") as caught:
        measure(partial(load_bundle, _bundle_file), plan, device=CPU, workers=0, strict=True, jobs=2)
    assert "without --strict" in caught.value.hint


def die(_path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(_path: Path) -> None:
    raise InputError("the bundle has gone", "Bring it back.")


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_with_the_way_on(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    load = cast(Callable[[], Bundle], partial(die, tmp_path))
    plan, records = make_plan("bn"), Records.open(tmp_path / "cells.jsonl", {}, resume=False)
    with pytest.raises(WorkError, match="one of the 4 processes was killed, after 0 of 3 streams") as caught:
        measure(load, plan, device=CPU, workers=0, jobs=4, records=records)
    assert "--resume and fewer --jobs, such as --jobs 2" in caught.value.hint
    with pytest.raises(WorkError, match="was killed") as caught:
        measure(load, plan, device=CPU, workers=0, jobs=2)
    assert "--jobs 1" in caught.value.hint and "--out DIR" in caught.value.hint


@pytest.mark.slow
def test_what_goes_wrong_as_a_process_starts_is_told_in_full(
    make_plan: Callable[..., Plan], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load = cast(Callable[[], Bundle], partial(refuse, tmp_path))
    with pytest.raises(InputError, match="the bundle has gone"):
        measure(load, make_plan("bn"), device=CPU, workers=0, jobs=2)
    assert "Traceback" not in capfd.readouterr().err
