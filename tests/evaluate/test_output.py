from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gformer_cli.errors import InputError
from gformer_cli.evaluate import Cell, Results
from gformer_cli.evaluate.output import Output, check_output


def test_a_new_or_empty_folder_is_taken(tmp_path: Path) -> None:
    assert check_output(tmp_path, overwrite=False, resume=False) == Output(tmp_path)
    assert check_output(tmp_path / "new", overwrite=False, resume=False).results == tmp_path / "new" / "results.json"
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_is_refused_unasked(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="output folder is not empty"):
        check_output(tmp_path, overwrite=False, resume=False)
    assert check_output(tmp_path, overwrite=True, resume=False) == Output(tmp_path)
    with pytest.raises(InputError, match="is a file, not a folder"):
        check_output(tmp_path / "notes.txt", overwrite=True, resume=False)


def test_resume_needs_something_unfinished(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to resume in"):
        check_output(tmp_path, overwrite=False, resume=True)
    output = Output(tmp_path)
    output.results.write_text("{}")
    with pytest.raises(InputError, match=r"nothing to resume: .*results\.json is finished"):
        check_output(tmp_path, overwrite=False, resume=True)
    output.cells.write_text("")
    assert check_output(tmp_path, overwrite=False, resume=True) == output


@pytest.mark.parametrize("resume", [True, False])
def test_beginning_keeps_old_results_and_for_resume_the_cells(tmp_path: Path, resume: bool) -> None:
    output = Output(tmp_path / "new")
    output.begin(resume=False)
    for path in (output.results, output.table, output.cells, output.folder / "notes.txt"):
        path.write_text("old")
    output.begin(resume=resume)
    left = {path.name for path in output.folder.iterdir()}
    assert left == {"notes.txt", "results.json", "results.csv"} | ({"cells.jsonl"} if resume else set())


def test_results_take_the_place_of_cells(tmp_path: Path, make_cell: Callable[..., Cell]) -> None:
    output = Output(tmp_path)
    output.cells.write_text("{}\n")
    results = Results({}, ["source"], [make_cell("source", "fog", [1])], [])
    output.write(results)
    assert {path.name for path in tmp_path.iterdir()} == {"results.json", "results.csv"}
    assert json.loads(output.results.read_text()) == json.loads(json.dumps(results.to_json()))
    assert output.table.read_text() == results.to_csv()


@pytest.mark.parametrize("name", ["results.json", "results.csv", "cells.jsonl"])
def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"cannot write {tmp_path / name}: Is a directory"):
        check_output(tmp_path, overwrite=True, resume=False)
    with pytest.raises(InputError, match="cannot write /proc/x"):
        check_output(Path("/proc/x"), overwrite=False, resume=False)
