"""Streams in processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from gformer_cli.bundle import load_bundle
from gformer_cli.data.folders import Domain
from gformer_cli.errors import InputError
from gformer_cli.stages.evaluate import Cell, Plan, measure

CPU = torch.device("cpu")


def what(cell: Cell) -> tuple[object, ...]:
    """All but times and the last bits, which the number of threads decides."""
    return cell.method, cell.place, cell.n, cell.batch_images, cell.batch_correct, cell.predictions


@pytest.mark.slow
def test_several_at_once_find_what_one_by_one_finds_in_the_same_order(
    _bundle_file: Path, make_plan: Callable[..., Plan]
) -> None:
    plan = make_plan("bn", streams=("stationary", "mixed"))
    load = partial(load_bundle, _bundle_file)
    one = measure(load, plan, device=CPU, workers=0)
    two = measure(load, plan, device=CPU, workers=0, jobs=2)
    assert [what(cell) for cell in two.cells] == [what(cell) for cell in one.cells]
    assert all(cell.cost_ratio > 0.0 for cell in two.cells)


@pytest.mark.slow
def test_what_goes_wrong_in_a_process_is_told_in_full(
    _bundle_file: Path, make_plan: Callable[..., Plan], own_domains: list[Domain]
) -> None:
    own_domains[0].files[0].path.write_bytes(b"")
    plan = replace(make_plan("bn"), targets=own_domains)
    with pytest.raises(InputError, match="unreadable image") as caught:
        measure(partial(load_bundle, _bundle_file), plan, device=CPU, workers=0, strict=True, jobs=2)
    assert "without --strict" in caught.value.hint
