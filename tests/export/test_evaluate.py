"""`gformer evaluate` of an exported file: the rows that it can answer, with the figures of its bundle."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gformer_cli.app import run
from gformer_cli.bundle import Bundle
from gformer_cli.evaluate import Cell, Plan, measure
from gformer_cli.evaluate.plan import impossible_methods
from gformer_cli.evaluate.reading import read_results
from gformer_cli.export.model import GraphModel
from gformer_cli.folders.domains import Domain
from tests.export.conftest import Made

ANSWERED = ("source", "gformer", "gformer-guard")


def cells(model: Bundle | GraphModel, domains: list[Domain]) -> list[Cell]:
    plan = Plan(ANSWERED, ("stationary",), domains, 4, (0,))
    return measure(lambda: model, plan, device=torch.device("cpu"), workers=0).cells


@pytest.mark.slow
def test_its_figures_are_those_of_its_bundle(made: Made, domains: list[Domain]) -> None:
    found, wanted = cells(GraphModel(made.path, threads=1), domains), cells(made.bundle, domains)
    assert len(found) == 9
    for one, other in zip(found, wanted, strict=True):
        assert (one.method, one.place, one.predictions) == (other.method, other.place, other.predictions)
        assert one.nll == pytest.approx(other.nll, abs=1e-4)
        assert (one.forwards, one.backwards) == (1.0, 0.0) and math.isnan(one.peak_mib)
    losses = {one.method: one.nll for one in found if one.part == found[0].part}
    assert len(set(losses.values())) > 1, "generator and guard change nothing here"


Evaluate = Callable[..., int]


@pytest.fixture
def evaluate(made: Made, domains: list[Domain], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    monkeypatch.chdir(tmp_path)
    target = str(domains[0].root.parent)
    return lambda *options: run(["evaluate", "--model", str(made.path), "--target", target, *map(str, options)])


@pytest.mark.slow
def test_all_leaves_out_what_a_file_cannot_answer_and_jobs_load_it_anew(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--methods", "all", "--jobs", 2, "--out", "r", "--report", "r.html") == 0
    told = capsys.readouterr()
    assert "every method costs the same" in told.err and "left out: tent. An exported file holds no network" in told.err
    document = read_results(tmp_path / "r" / "results.json")
    assert {cell.method for cell in document.cells} == set(ANSWERED)
    assert all(math.isnan(cell.peak_mib) for cell in document.cells)
    assert (tmp_path / "r.html").is_file()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--methods", "bn"], "the method 'bn' cannot be measured here"),
        (["--tune", "--source", "."], "--tune has no effect"),
        (["--examine"], "--examine has no effect"),
        (["--device", "cuda"], "--device cuda has no effect"),
        (["--backbone", "net.py:make"], "--backbone has no effect"),
    ],
)
def test_what_it_cannot_do_is_refused(
    evaluate: Evaluate, options: list[str], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(*options) == 2
    assert what in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_without_a_guard_there_is_no_row_of_one(made: Made) -> None:
    model = GraphModel(made.path, threads=1)
    assert set(ANSWERED).isdisjoint(impossible_methods(model))
    model.about = model.about.model_copy(update={"guarded": False})
    assert set(ANSWERED) & set(impossible_methods(model)) == {"gformer-guard"}
