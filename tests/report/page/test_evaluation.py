from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from itertools import pairwise
from typing import Any

import pytest

from gformer_cli.audit.records import BatchRecord, ClassifierRecord
from gformer_cli.audit.summary import summarise
from gformer_cli.data.streams import STREAMS
from gformer_cli.evaluate.reading import Document
from gformer_cli.report.page import figures
from gformer_cli.report.page.evaluation import evaluation_page
from gformer_cli.report.page.figures import TOGETHER
from gformer_cli.report.page.styles import styles
from gformer_cli.report.page.views import CHANGES, CROSSED, change_tables
from gformer_cli.report.table import interval

MakeDocument = Callable[..., Document]
SECTIONS = ["verdict", "targets", "harm", "streams", "cost", "calibration", "inside", "changes", "pictures", "made"]
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "a\nb\x1b[31m",
    "مرحبا\u202eexe",
    "$x_1$ & {{ 7*7 }}",
]


def test_sections_come_in_order_and_every_link_leads_to_one(document: MakeDocument, look: Any) -> None:
    page = look(evaluation_page(document()))
    assert page.sections == SECTIONS
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == ["#main", *(f"#{name}" for name in SECTIONS)]


def test_figures_in_tables_are_those_of_the_results(document: MakeDocument, look: Any) -> None:
    found = document(streams=("stationary", "mixed"))
    page = look(evaluation_page(found))
    for stream in ("stationary", "mixed"):
        rows = page.tables[f"Accuracy in %, stream {stream}, batches of 10"]
        summaries = found.methods((stream, 10))
        assert [row["method"][0] for row in rows] == list(summaries) == ["source", "bn", "gformer"]
        for row, summary in zip(rows, summaries.values(), strict=True):
            for target, accuracy in summary.targets.items():
                assert row[target] == (f"{100 * accuracy:.1f}", str(accuracy))
            assert row["average"] == (f"{100 * summary.accuracy:.1f}", str(summary.accuracy))
            assert row["harm"] == (f"{100 * summary.harm:.1f}", str(summary.harm))
            assert row["× plain cost"] == (f"{summary.cost_ratio:.2f}", str(summary.cost_ratio))
            if summary.to_source is not None:
                assert row["to source, 95 % interval"][1] == str(summary.to_source.mean)
                assert set(summary.to_source_by_target) == set(summary.targets)
                each = [interval(found).replace(", ", ",") for found in summary.to_source_by_target.values()]
                assert all(text in page.text for text in each)
    for row, summary in zip(
        page.tables["What predicting costs, stream stationary, batches of 10"], found.summaries, strict=False
    ):
        assert row["memory, MiB"][1] == str(summary.peak_mib)
    trusted = page.tables["Can the probabilities be trusted? Lower is better. Stream stationary"]
    for row, summary in zip(trusted, found.summaries, strict=False):
        assert (row["calibration error (ECE)"][1], row["Brier score"][1]) == (str(summary.ece), str(summary.brier))


def test_batch_sizes_go_across_and_forgetting_is_told(document: MakeDocument, look: Any) -> None:
    def right(method: str, target: str, batch: int) -> int:
        return 9 if method == "source" or target != "(source again)" else 7

    targets = ("fog", "(source again)")
    found = document(targets=targets, streams=("batch-sizes", "forgetting"), sizes=(2, 8), right=right)
    page = look(evaluation_page(found))
    rows = page.tables["Accuracy in %, stream batch-sizes, by batch size"]
    assert list(rows[0]) == ["method", "batches of 2", "batches of 8"]
    assert rows[2]["batches of 8"][1] == str(found.methods(("batch-sizes", 8))["gformer"].accuracy)
    assert "the model as trained has 90.0 %; lost there: bn 20.0 points, gformer 20.0 points." in page.text


def test_best_is_bold_and_harm_is_marked(document: MakeDocument, look: Any) -> None:
    def right(method: str, target: str, batch: int) -> int:
        return {"source": 5, "bn": 4, "gformer": 8}[method]

    page = look(evaluation_page(document(targets=("fog",), right=right)))
    classes: dict[str, set[str]] = {}
    for attributes in (a for tag, a in page.tags if tag == "td"):
        classes.setdefault(attributes["data-value"], set()).update(attributes["class"].split())
    assert "best" in classes["0.8"] and "harm" not in classes["0.8"]
    assert "harm" in classes["0.4"] and "harm" not in classes["0.5"]


def test_pictures_are_embedded_with_labels_and_confidences(document: MakeDocument, look: Any) -> None:
    page = look(evaluation_page(document()))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == [
        "fog/gained.png",
        "night/gained.png",
        "fog/lost.png",
        "night/lost.png",
    ]
    assert all(image["src"].startswith("data:image/") for image in images)
    assert [a["data-value"] for tag, a in page.tags if tag == "span" and "data-value" in a][:2] == ["0.75", "0.5"]
    assert "Wrong before, right now" in page.text and "Wrong before and now" not in page.text


def test_which_labels_became_which_and_whether_that_was_right(document: MakeDocument, look: Any) -> None:
    page = look(evaluation_page(document(streams=("stationary", "mixed"))))
    first, second = page.tables["Changes of labels"]  # of two targets in the first stream alone, the verdict's
    assert [cell[0] for cell in first.values()] == ["dog → cat", "10", "100.0", "6", "2"]
    assert [cell[0] for cell in second.values()] == ["cat → dog", "4", "9.1", "0", "4"]
    rows = page.tables["Images by label: source down, gformer across"]
    assert [[cell[0] for cell in row.values()] for row in rows] == [["cat", "40", "4"], ["dog", "10", ""]]


def test_of_many_classes_the_busiest_are_crossed() -> None:
    names = [f"class {number:02d}" for number in range(CROSSED + 5)]
    pairs = pairwise(names)
    answers = {pair: 50 - number for number, pair in enumerate(pairs)} | {(name, name): 7 for name in names}
    changes, crossed = change_tables(answers, names, "before", "after")
    assert changes.caption == "Changes of labels" and len(changes.rows) == len(names) - 1
    assert [value.text for value in changes.rows[0]] == ["class 00 → class 01", "50", "87.7"]
    assert crossed.caption.endswith(f"; {CROSSED} of {len(names)} classes") and len(crossed.rows) == CROSSED
    assert [row[0].text for row in crossed.rows] == list(crossed.columns)[1:] == sorted(crossed.columns[1:])
    many = {(f"a{number}", "b"): number + 1 for number in range(CHANGES + 1)}
    listed = change_tables(many, [], "before", "after")[0]
    assert listed.caption == f"Changes of labels, the most frequent {CHANGES} of {CHANGES + 1}"
    assert change_tables({("a", "a"): 3}, ["a"], "before", "after") == []


def test_of_many_methods_each_has_a_panel_beside_the_source() -> None:
    few = ["source", "gformer", *(f"method-{number}" for number in range(TOGETHER - 2))]
    for methods, panels in ((few, 0), ([*few, "last"], TOGETHER)):
        known = styles(methods, subject="gformer", reference="source")
        along = {method: [[0.5, 0.7, 0.6], [0.2, 0.1, 0.3]] for method in methods}
        points = {method: {1.0: 0.5, 8.0: 0.75} for method in methods}
        drawings = [
            figures.along_streams("along", along, ["fog", "night"], known, reference="source"),
            figures.curves("by-size", points, known, label="images in a batch", reference="source", log=True),
        ]
        for drawing in drawings:
            assert sum(f">{method}</text>" in drawing for method in methods) == panels
            lines = drawing.count(f"stroke: {known['source'].colour}")
            assert lines >= (2 if drawing is drawings[0] else 1) * max(1, panels)  # it is in every panel
        assert figures.is_wide(methods) == bool(panels)


def test_calibration_at_fitted_temperatures_is_shown_where_there_is_one(document: MakeDocument, look: Any) -> None:
    caption = "Can the probabilities be trusted? Lower is better. Stream stationary"
    plain = document()
    assert "ECE, calibrated" not in look(evaluation_page(plain)).tables[caption][0]
    fitted = [replace(one, ece_calibrated=0.125) if one.method != "bn" else one for one in plain.summaries]
    rows = look(evaluation_page(replace(plain, summaries=fitted))).tables[caption]
    assert [row["ECE, calibrated"][0] for row in rows] == ["0.125", "", "0.125"]


def test_the_inside_is_drawn_once_a_stream_and_told_in_words(document: MakeDocument, look: Any) -> None:
    page = look(evaluation_page(document()))
    alts = [a["aria-label"] for tag, a in page.tags if tag == "div" and a.get("role") == "img"]
    inside = [alt for alt in alts if "layers down, batches across" in alt]
    assert len(inside) == 2 and page.text.count("Most is generated for layer1.bn2") == 2


def test_without_details_the_page_says_how_to_get_them(document: MakeDocument, look: Any) -> None:
    page = look(evaluation_page(document(details=False)))
    assert page.sections == SECTIONS and page.text.count("Not kept. gformer evaluate --report") == 3


@pytest.mark.slow
def test_hostile_names_are_shown_and_never_run(document: MakeDocument, look: Any) -> None:
    found = document(targets=HOSTILE, classes=HOSTILE, streams=("stationary", "batch-sizes"))
    clean = look(evaluation_page(document(targets=list("abcde"), streams=("stationary", "batch-sizes"))))
    page = look(evaluation_page(found))
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in clean.tags]  # no name has become an element
    allowed = {"onerror", "onload", "onclick"}
    assert not [attributes for _, attributes in page.tags if allowed & set(attributes)]
    assert "<script>alert(1)</script>/gained.png" in page.text  # as text
    assert "a\\nb\\x1b[31m" in page.text and "مرحبا\\u202eexe" in page.text and "$x_1$ & {{ 7*7 }}" in page.text
    assert page.source.count("<script>") == 1


def test_a_thumbnail_that_is_none_is_not_loaded(document: MakeDocument, look: Any) -> None:
    from dataclasses import replace

    found = document()
    cells = list(found.cells)
    for number, cell in enumerate(cells):
        if cell.details is not None:
            pictures = [replace(picture, thumbnail="javascript:alert(1)") for picture in cell.details.pictures]
            cells[number] = replace(cell, details=replace(cell.details, pictures=pictures))
    page = look(evaluation_page(replace(found, cells=cells)))
    assert {a["src"] for tag, a in page.tags if tag == "img"} == {"data:,"}


def test_nothing_is_fetched_and_ids_are_unique(document: MakeDocument, look: Any) -> None:
    page = look(evaluation_page(document(streams=("stationary", "mixed", "label-shift"))))
    places = [a[name] for _, a in page.tags for name in ("src", "href", "xlink:href") if name in a]
    assert all(place.startswith(("#", "data:")) for place in places)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_the_same_results_give_the_same_page(document: MakeDocument) -> None:
    assert evaluation_page(document()) == evaluation_page(document())


def test_how_it_was_made(document: MakeDocument, look: Any) -> None:
    skipped = [{"path": "fog/<b>.png", "reason": "broken"}]
    page = look(evaluation_page(document(skipped=skipped, tuned={"bn": {"settings": {"a": 1}}})))
    for text in ("gformer evaluate --model model.gformer", "ab" * 32, "torch", "fog/<b>.png", "Chosen on held-out"):
        assert text in page.text


def record(decision: str, bundle: str) -> BatchRecord:
    return BatchRecord(
        schema_version=1,
        time=datetime(2026, 3, 1, tzinfo=timezone.utc),
        bundle=bundle,
        settings_hash="",
        settings={},
        batch=0,
        target="fog",
        decision=decision,
        share=1.0,
        signals={},
        reasons=["<b>strange</b>"] if decision == "source" else [],
        seconds=0.1,
        layers=[],
        classifier=ClassifierRecord(name="head", weight=0.1, bias=0.1),
        images=[],
    )


def test_an_audit_log_adds_what_the_guard_decided(document: MakeDocument, look: Any) -> None:
    log = summarise([record("generated", "ab" * 32), record("source", "ab" * 32), record("source", "ab" * 32)])
    page = look(evaluation_page(document(), log))
    assert page.sections == [*SECTIONS[:-1], "guard", "made"]
    (row,) = page.tables["By minute"]
    assert (row["generated"][0], row["blended"][0], row["source"][0]) == ("1", "0", "2")
    assert page.tables["Why the guard did not trust"][0]["signal out of range"][0] == "<b>strange</b>"
    assert "log is of another bundle" not in page.text
    other = look(evaluation_page(document(), summarise([record("source", "cd" * 32)])))
    assert "This log is of another bundle than the results." in other.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("streams", "targets"),
    [(("stationary", "batch-sizes"), 1), pytest.param(tuple(STREAMS), 6, marks=pytest.mark.slow)],
    ids=["few", "all"],
)
def test_a_page_of_twelve_methods_stays_small(
    document: MakeDocument, look: Any, streams: tuple[str, ...], targets: int
) -> None:
    """5 MB for all eight streams, one of them at three batch sizes, on six targets; fewer have their share of it."""
    methods = ("source", "gformer", *(f"method-{number}" for number in range(10)))
    names = [f"target-{number}" for number in range(targets)]
    page = evaluation_page(document(methods, names, streams, sizes=(10, 2, 4), batches=30))
    assert len(page.encode()) < 5_000_000 * (len(streams) + 2) * targets / (10 * 6)
    assert len(look(page).tables["Accuracy in %, stream stationary, batches of 10"]) == 12


@pytest.mark.parametrize("broken", [{"summaries": []}, {"cells": [{"method": "bn"}]}, {"bundle": None}])
def test_damaged_results_are_refused(document: MakeDocument, broken: dict[str, Any]) -> None:
    from gformer_cli.errors import InputError

    with pytest.raises(InputError, match="damaged results"):
        document(**broken)


def test_results_can_be_kept_as_json_and_read_back(document: MakeDocument) -> None:
    from gformer_cli.evaluate import Results
    from gformer_cli.evaluate.reading import parse_results

    found = document(batches=1)  # one batch: no interval, one seed: no error
    text = json.dumps(Results(found.bundle, ["source", "bn", "gformer"], found.cells, []).to_json(), allow_nan=False)
    assert parse_results(json.loads(text)).cells == found.cells


@pytest.mark.slow
def test_the_source_models_accuracy_is_in_the_captions_and_a_weak_one_is_told(
    document: MakeDocument, look: Any
) -> None:
    found = document(streams=("stationary", "mixed", "batch-sizes"), sizes=(10, 1))
    known = replace(found, bundle={**found.bundle, "validation_accuracy": 0.4, "still_rising": True})
    page = look(evaluation_page(known))
    captions = [caption for caption in page.tables if caption.startswith("Accuracy in %")]
    assert len(captions) == 3
    assert all(caption.endswith("(source model: 40.0 % on validation images)") for caption in captions)
    assert "validation was still rising when training ended" in page.text
    assert "still rising" not in look(evaluation_page(found)).text


def test_losses_are_shown_over_all_cells_and_in_each(document: MakeDocument, look: Any) -> None:
    right = {"source": 5, "bn": 4, "gformer": 6}
    found = document(streams=("stationary", "mixed"), right=lambda method, _target, _batch: right[method])
    page = look(evaluation_page(found))
    bn, gformer = page.tables["Lost to source in points, over 4 cells (target, stream, batch size)"]
    assert (bn["most"][0], bn["cells with 1.0 or less, %"][0]) == ("10.0", "0.0")
    gained = [gformer[column][0] for column in ("where most", "most", "cells with 1.0 or less, %")]
    assert gained == ["", "0.0", "100.0"]
    every = page.tables["Lost to source in points, each of 4 cells (target, stream, batch size)"]
    assert [(row["cell"][0], row["bn"][0], row["gformer"][0]) for row in every] == [
        (f"{target}, {stream}, batches of 10", "10.0", "-10.0")
        for stream in ("stationary", "mixed")
        for target in ("fog", "night")
    ]
