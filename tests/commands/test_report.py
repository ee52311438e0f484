"""`gformer report`, `compare`, and --report of `evaluate` and `adapt`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.app import run

Gformer = Callable[..., Any]


@pytest.fixture(scope="session")
def evaluated(bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results that hold details, and page.html of the same run. Not to be written to."""
    out = tmp_path_factory.mktemp("evaluated") / "results"
    command = ["evaluate", "--model", bundle, "--target", data / "targets", "--methods", "source,gformer"]
    command += ["--batch-size", 8, "--out", out, "--report", out.parent / "page.html"]
    assert run([str(part) for part in command]) == 0
    return out.parent


@pytest.fixture
def results(evaluated: Path) -> Path:
    return evaluated / "results" / "results.json"


@pytest.mark.slow
def test_a_page_drawn_later_is_the_page_of_the_run(
    gformer: Gformer, evaluated: Path, results: Path, tmp_path: Path
) -> None:
    done = gformer("report", results, "-o", tmp_path / "page.html")
    assert done.status == 0 and f"Wrote {tmp_path / 'page.html'}" in done.out
    assert done.out.startswith("Adapting with gformer ")
    assert (tmp_path / "page.html").read_bytes() == (evaluated / "page.html").read_bytes()


def test_results_tell_the_command_and_hold_details(results: Path) -> None:
    found = json.loads(results.read_text())
    assert found["run"]["command"].startswith("gformer evaluate --model ")
    assert (found["run"]["batch_size"], found["run"]["seeds"]) == (8, [0])
    assert all(("details" in cell) == (cell["method"] == "gformer") for cell in found["cells"])
    assert "base64" not in (results.parent / "results.csv").read_text()


def test_examine_keeps_details_without_a_page(gformer: Gformer, bundle: Path, data: Path) -> None:
    command = ["evaluate", "--model", bundle, "--target", data / "targets" / "fog", "--methods", "gformer", "--json"]
    found = [gformer(*command, *more).json for more in ([], ["--examine"])]
    assert ["details" in document["cells"][0] for document in found] == [False, True]
    command[command.index("gformer")] = "bn"
    refused = gformer(*command, "--examine")
    assert refused.status == 2 and "looks into 'gformer', which is not measured" in refused.err


def test_json_has_the_verdict(gformer: Gformer, results: Path, tmp_path: Path) -> None:
    found = gformer("report", results, "--out", tmp_path / "page.html", "--json").json
    assert found["subject"] == "gformer" and len(found["verdict"]) == 3
    assert found["out"] == str(tmp_path / "page.html")


def test_overwrite_replaces_a_page(gformer: Gformer, results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    refused = gformer("report", results, "-o", page)
    assert refused.status == 2 and "report file exists" in refused.err and page.read_text() == "mine"
    assert gformer("report", results, "-o", page, "--overwrite").status == 0
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_an_audit_log_is_drawn(gformer: Gformer, bundle: Path, data: Path, results: Path, tmp_path: Path) -> None:
    command = ["adapt", "--model", bundle, "--target", data / "targets", "--out", tmp_path / "out.csv"]
    assert gformer(*command, "--audit", tmp_path / "audit.jsonl").status == 0
    assert gformer("report", results, "--audit", tmp_path / "audit.jsonl", "-o", tmp_path / "page.html").status == 0
    assert "What the guard decided" in (tmp_path / "page.html").read_text()
    refused = gformer("report", results, "--audit", results, "-o", tmp_path / "other.html")
    assert refused.status == 2 and "audit log" in refused.err and not (tmp_path / "other.html").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nonsense", "not a results.json"),
        ("[1]", "not a results.json"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 2}', "damaged results"),
        ('{"schema_version": 2, "summaries": [3]}', "damaged results"),
        ("[" * 100_000, "not a results.json"),
    ],
)
def test_what_is_no_results_file_is_refused(gformer: Gformer, tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content)
    for command in (["report", path, "-o", tmp_path / "page.html"], ["compare", path, path]):
        done = gformer(*command)
        assert done.status == 2 and words in done.err and len(done.err.splitlines()) <= 2
    assert not (tmp_path / "page.html").exists()


def test_a_file_that_is_not_there_and_a_wrong_suffix(gformer: Gformer, results: Path, tmp_path: Path) -> None:
    assert "cannot read" in gformer("report", tmp_path / "none.json", "-o", tmp_path / "page.html").err
    done = gformer("report", results, "-o", tmp_path / "page.pdf")
    assert done.status == 2 and "suffix .html" in done.err


def test_without_the_extra_the_command_says_what_to_install(
    gformer: Gformer, bundle: Path, data: Path, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gformer_cli.report.page import files

    monkeypatch.setattr(files, "find_spec", lambda _: None)
    page, target = tmp_path / "page.html", data / "targets" / "fog"
    for command in (
        ["report", results, "-o", page],
        ["compare", results, results, "--report", page],
        ["evaluate", "--model", bundle, "--target", target, "--report", page],
        ["adapt", "--model", bundle, "--target", target, "--out", tmp_path / "out.csv", "--report", page],
    ):
        done = gformer(*command)
        assert done.status == 2 and "pip install 'gformer[report]'" in done.err
    assert list(tmp_path.iterdir()) == []


def test_adapt_reports_on_images_without_labels(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> None:
    command = ["adapt", "--model", bundle, "--target", data / "targets", "--out", tmp_path / "out.csv"]
    done = gformer(*command, "--batch-size", 8, "--report", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert done.status == 0 and str(tmp_path / "page.html") in done.out
    assert "These images have no labels, so accuracy is unknown." in page
    assert "60 images were predicted in 8 batches" in page and "data:image/jpeg;base64," in page
    assert "accuracy as guessed, %" in page and "Objects of no class that the model knows count as right" in page
    quiet = gformer(*command, "--overwrite", "--temperature", 2, "--report", tmp_path / "other.html")
    assert quiet.status == 0 and "as guessed" not in (tmp_path / "other.html").read_text()


def test_a_dry_run_names_the_page_and_writes_none(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> None:
    page, target = tmp_path / "page.html", data / "targets" / "fog"
    for command in (["evaluate"], ["adapt", "--out", tmp_path / "out.csv"]):
        done = gformer(*command, "--model", bundle, "--target", target, "--report", page, "--dry-run")
        assert done.status == 0 and str(page) in done.out
    assert list(tmp_path.iterdir()) == []


def test_watching_makes_no_page(gformer: Gformer, bundle: Path, tmp_path: Path) -> None:
    command = ["watch", tmp_path, "--model", bundle, "--out", tmp_path / "out.csv"]
    done = gformer(*command, "--report", tmp_path / "page.html")
    assert done.status == 2 and "No such option: --report" in done.err


def test_compare_shows_two_results_side_by_side(gformer: Gformer, results: Path, tmp_path: Path) -> None:
    better = json.loads(results.read_text())
    for cell in better["cells"]:
        if cell["method"] == "gformer":
            cell["batch_correct"] = cell["batch_images"]
    for summary in better["summaries"]:
        if summary["method"] == "gformer":
            summary["targets"] = dict.fromkeys(summary["targets"], 1.0)
    other = tmp_path / "better.json"
    other.write_text(json.dumps(better))
    found = gformer("compare", results, other, "--json").json
    before = {s["method"]: s["accuracy"] for s in json.loads(results.read_text())["summaries"]}
    rows = {row["method"]: row for row in found["rows"]}
    assert rows["source"]["difference"] == 0.0
    assert rows["gformer"]["a"] == pytest.approx(before["gformer"]) and rows["gformer"]["b"] == 1.0
    assert rows["gformer"]["difference"] == pytest.approx(1.0 - before["gformer"])
    assert rows["gformer"]["low"] <= rows["gformer"]["difference"] <= rows["gformer"]["high"]
    shown = gformer("compare", results, other, "--report", tmp_path / "page.html")
    assert shown.status == 0 and "100.0" in shown.out
    page = (tmp_path / "page.html").read_text()
    assert "B is better." in page and str(rows["gformer"]["difference"]) in page
    refused = gformer("compare", results, other, "--report", tmp_path / "page.html")
    assert refused.status == 2 and "report file exists" in refused.err
