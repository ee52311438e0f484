"""`gformer adapt --guard` and `--guard-limit`."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

Gformer = Callable[..., Any]
ReadCsv = Callable[[Path], list[dict[str, str]]]
Adapt = Callable[..., tuple[Any, list[dict[str, str]]]]
TRUST = ("strangeness=1e9", "expected-loss=1e9", "smallest-batch=1")
DOUBT = ("strangeness=-1e3", "strangeness-far=1e3", "expected-loss=1e9", "smallest-batch=1")
REFUSE = ("strangeness=-1e9", "strangeness-far=-1e9")


def limits(*assignments: str) -> list[str]:
    return [word for text in assignments for word in ("--guard-limit", text)]


@pytest.fixture
def adapt(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path, read_csv: ReadCsv) -> Adapt:
    """`adapt(*options)`: what the command did with 30 images in batches of 8, and its rows."""

    def call(*options: object, model: Path | None = None) -> tuple[Any, list[dict[str, str]]]:
        out = tmp_path / "out.csv"
        fixed = ("--model", model or bundle, "--target", data / "targets" / "fog", "--out", out, "--batch-size", 8)
        done = gformer("adapt", *fixed, "--overwrite", "--probabilities", *options)
        return done, read_csv(out) if done.status == 0 else []

    return call


@pytest.fixture
def older(bundle: Path, tmp_path: Path) -> Path:
    """The bundle without a guard."""
    import json

    path = Path(shutil.copy(bundle, tmp_path / "older.gformer"))
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["gformer"])
    del header["guard"]
    save_file(load_file(path), path, metadata={"gformer": json.dumps(header)})
    return path


def predicted(rows: list[dict[str, str]]) -> list[list[str]]:
    return [[row["label"], row["confidence"], row["probability:circle"]] for row in rows]


def test_a_trusted_batch_is_predicted_as_without_a_guard(adapt: Adapt) -> None:
    _, off = adapt("--guard", "off")
    done, on = adapt(*limits(*TRUST), "--json")
    assert on == off and {row["decision"] for row in on} == {"generated"}
    assert done.json["decisions"] == {"generated": 4, "blended": 0, "source": 0}
    assert (done.json["guard"], done.json["flagged"]) == ("on", []) and "guard" not in done.err


def test_a_refused_batch_gets_the_source_models_answer(adapt: Adapt) -> None:
    done, rows = adapt(*limits(*REFUSE), "--json")
    assert {row["decision"] for row in rows} == {"source"}
    assert [row["label"] for row in rows] == [row["source_label"] for row in rows]
    assert (done.json["changed"], done.json["decisions"]["source"]) == (0, 4)
    first = done.json["flagged"][0]
    assert (first["batch"], first["target"], first["decision"], first["share"]) == (0, "fog", "source", 0.0)
    assert first["reasons"][0] == "strangeness" and first["signals"]["batch_size"] == 8.0


def test_a_doubted_batch_is_predicted_with_something_in_between(adapt: Adapt) -> None:
    done, rows = adapt(*limits(*DOUBT), "--json")
    assert {row["decision"] for row in rows} == {"blended"}
    assert all(0.4 < item["share"] < 0.6 for item in done.json["flagged"])
    for other in (TRUST, REFUSE):
        assert predicted(adapt(*limits(*other))[1]) != predicted(rows)


def test_warn_says_what_on_would_do_and_predicts_as_generated(adapt: Adapt) -> None:
    _, off = adapt("--guard", "off")
    done, warned = adapt("--guard", "warn", *limits(*REFUSE))
    assert predicted(warned) == predicted(off)
    assert {row["decision"] for row in warned} == {"source"}
    assert "warning: the guard does not trust what was generated for 4 of 4 batches; with --guard warn" in done.err
    assert "  fog, batch 0: source, because of strangeness" in done.err
    assert "Guard: 0 generated, 0 blended, 4 source" in done.out


def test_off_does_not_look(adapt: Adapt) -> None:
    done, rows = adapt("--guard", "off", "--json")
    assert {row["decision"] for row in rows} == {"generated"}
    assert (done.json["guard"], done.json["decisions"]) == ("off", {})
    assert "Guard:" not in adapt("--guard", "off")[0].out


def test_the_guard_is_on_unless_told_otherwise(adapt: Adapt) -> None:
    assert adapt("--json")[0].json["guard"] == "on"


def test_a_bundle_without_a_guard_says_so_once_and_predicts_as_generated(adapt: Adapt, older: Path) -> None:
    _, off = adapt("--guard", "off", model=older)
    done, rows = adapt(model=older)
    assert rows == off
    assert done.err.count("the bundle holds no calibrated guard") == 1
    assert "guard" not in adapt("--guard", "off", model=older)[0].err


def test_the_smallest_batch_can_be_set(adapt: Adapt) -> None:
    done, rows = adapt(*limits("strangeness=1e9", "expected-loss=1e9", "smallest-batch=7"), "--json")
    assert done.json["decisions"] == {"generated": 3, "blended": 0, "source": 1}
    assert [row["decision"] for row in rows].count("source") == 6
    assert done.json["flagged"][0]["reasons"] == ["batch_size"]


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (limits("strangenes=1"), "unknown guard limit: 'strangenes'", "Did you mean 'strangeness'"),
        (limits("strangeness"), "--guard-limit wants NAME=NUMBER, got 'strangeness'", "For example"),
        (limits("strangeness=high"), "got 'strangeness=high'", "For example"),
        (limits("strangeness=inf"), "strangeness=inf is out of range", "between -1e+09 and 1e+09"),
        (limits("expected-loss-far=1e400"), "expected-loss-far=1e400 is out of range", "between"),
        (limits("smallest-batch=-1"), "smallest-batch=-1 is out of range", "number of images"),
        (limits("smallest-batch=inf"), "smallest-batch=inf is out of range", "between"),
        (limits("strangeness=nan"), "got 'strangeness=nan'", "For example"),
        (["--guard", "off", *limits("strangeness=1")], "no effect with --guard off", "Leave out one"),
        (limits("strangeness-far=-1e9"), "strangeness-far is -1e+09, below strangeness", "falls from 1 to 0"),
        (["--guard", "maybe"], "maybe", "warn"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    adapt: Adapt, tmp_path: Path, options: list[str], message: str, hint: str
) -> None:
    done, _ = adapt(*options)
    assert done.status == 2 and message in done.err and hint in done.err
    assert not (tmp_path / "out.csv").exists()


def test_a_limit_for_a_bundle_without_a_guard_is_refused(adapt: Adapt, older: Path) -> None:
    done, _ = adapt(*limits("strangeness=1"), model=older)
    assert done.status == 2 and "the bundle holds no calibrated guard" in done.err


def test_a_dry_run_names_the_mode(adapt: Adapt, gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> None:
    options = ("--model", bundle, "--target", data / "targets", "--out", tmp_path / "a.csv", "--dry-run", "--json")
    assert gformer("adapt", *options, "--guard", "warn").json["guard"] == "warn"
