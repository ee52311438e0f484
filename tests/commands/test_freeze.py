from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.bundle import read_header
from gformer_cli.methods import METHODS

Gformer = Callable[..., Any]


@pytest.fixture
def fog(data: Path) -> Path:
    return data / "targets" / "fog"


@pytest.fixture
def static(gformer: Gformer, bundle: Path, fog: Path, tmp_path: Path) -> Path:
    assert gformer("freeze", "--model", bundle, "--target", fog, "-o", tmp_path / "static.gformer").status == 0
    return tmp_path / "static.gformer"


def test_it_tells_what_it_kept_and_what_to_do_next(gformer: Gformer, bundle: Path, fog: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "static.gformer"
    done = gformer("freeze", "--model", bundle, "--target", fog, "--out", out, "--batch-size", "16")
    assert done.status == 0 and f"30 images of fog in 2 batches. Wrote {out}" in done.out
    assert f"gformer evaluate --model {out}" in done.out and "freezing: 2 in" in done.err


def test_json_is_one_document(gformer: Gformer, bundle: Path, fog: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.gformer"
    arguments = ["--limit", "20", "--batch-size", "8", "--seed", "3", "--json"]
    found = gformer("freeze", "--model", bundle, "--target", fog, "-o", out, *arguments).json
    kept = read_header(out).static
    assert kept is not None
    assert found == {"out": str(out), **kept.model_dump(), "skipped": [], "left_aside": {}}
    assert (kept.target, kept.images, kept.batches, kept.batch_size, kept.seed) == ("fog", 20, 3, 8, 3)


def test_a_small_sample_is_warned_of(gformer: Gformer, bundle: Path, fog: Path, tmp_path: Path) -> None:
    def warned(*options: object) -> bool:
        done = gformer("freeze", "--model", bundle, "--target", fog, "-o", tmp_path / "s", "--overwrite", *options)
        return "a sample of 30 images is small" in done.err

    assert warned() and not warned("--batch-size", 30)


def test_a_dry_run_writes_nothing(gformer: Gformer, bundle: Path, fog: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "static.gformer"
    done = gformer("freeze", "--model", bundle, "--target", fog, "-o", out, "--dry-run")
    assert done.status == 0 and f"Would write: {out}" in done.out and "limit: 2048" in done.out
    assert not out.parent.exists()


def test_several_conditions_are_refused_unless_they_are_called_one(
    gformer: Gformer, bundle: Path, data: Path, tmp_path: Path
) -> None:
    arguments = ["freeze", "--model", bundle, "--target", data / "targets", "-o", tmp_path / "s.gformer"]
    done = gformer(*arguments)
    assert done.status == 2 and "holds 2 domains (fog, night)" in done.err and "--layout flat" in done.err
    assert gformer(*arguments, "--layout", "flat").status == 0


def test_a_missing_bundle_and_an_existing_output(gformer: Gformer, bundle: Path, fog: Path, static: Path) -> None:
    assert "no such bundle" in gformer("freeze", "--model", "gone", "--target", fog, "-o", static).err
    before = static.read_bytes()
    done = gformer("freeze", "--model", bundle, "--target", fog, "-o", static, "--limit", "5")
    assert done.status == 2 and "output file exists" in done.err and static.read_bytes() == before
    again = gformer("freeze", "--model", bundle, "--target", fog, "-o", static, "--limit", "5", "--overwrite")
    assert again.status == 0 and static.read_bytes() != before


def test_adapt_predicts_what_was_generated_for_the_sample(
    gformer: Gformer, bundle: Path, static: Path, fog: Path, tmp_path: Path, read_csv: Callable[..., Any]
) -> None:
    rows = []
    for model, name, size in ((bundle, "generated", 64), (static, "static", 64), (static, "one by one", 1)):
        out = tmp_path / f"{name}.csv"
        options = ["--probabilities", "--batch-size", size]
        assert gformer("adapt", "--model", model, "--target", fog, "--out", out, *options).status == 0
        rows.append(read_csv(out))
    for generated, kept, alone in zip(*rows, strict=True):
        assert generated["source_label"] == kept["source_label"]  # of the model before adapting: the way back
        for key in (key for key in kept if key.startswith(("confidence", "probability"))):
            assert float(kept[key]) == pytest.approx(float(generated[key]), abs=2e-5)
            assert float(alone[key]) == pytest.approx(float(kept[key]), abs=2e-5)


def test_evaluate_measures_it_against_the_source_of_its_parent(
    gformer: Gformer, bundle: Path, static: Path, fog: Path
) -> None:
    arguments = ["--target", fog, "--methods", "source,bn,gformer", "--json"]
    ours, parents = (gformer("evaluate", "--model", model, *arguments) for model in (static, bundle))
    # the sample is one batch here, so that static and generated parameters are the same
    accuracy, wanted = (
        {item["method"]: item["accuracy"] for item in found.json["summaries"]} for found in (ours, parents)
    )
    assert accuracy == wanted
    assert "gformer predicts every batch with what was kept from fog; source is the model before adapting" in ours.err
    assert "static bundle" not in parents.err
    assert ours.json["bundle"]["static"]["target"] == "fog" and parents.json["bundle"]["static"] is None


def test_evaluate_leaves_out_the_constant_generator_that_it_does_not_have(
    gformer: Gformer, static: Path, fog: Path
) -> None:
    done = gformer("evaluate", "--model", static, "--target", fog, "--methods", "all", "--dry-run", "--json")
    assert "left out: constant. A static bundle holds no constant generator" in done.err
    assert done.json["methods"] == [
        name for name in METHODS if name not in ("constant", "foa", "gformer-context", "gformer-guard")
    ]


def test_evaluate_counts_one_pass_an_image(gformer: Gformer, bundle: Path, static: Path, fog: Path) -> None:
    def forwards(model: Path) -> float:
        found = gformer("evaluate", "--model", model, "--target", fog, "--methods", "gformer", "--json").json
        return next(float(cell["forwards"]) for cell in found["cells"] if cell["method"] == "gformer")

    assert forwards(static) == 1.0 and forwards(bundle) == 1.0


def test_by_default_evaluate_leaves_the_constant_generator_out(gformer: Gformer, static: Path, fog: Path) -> None:
    found = gformer("evaluate", "--model", static, "--target", fog, "--json").json
    assert [item["method"] for item in found["summaries"]] == ["source", "bn", "tent", "gformer"]
    asked = gformer("evaluate", "--model", static, "--target", fog, "--methods", "constant")
    assert asked.status == 2 and "measure the bundle that it was made from" in asked.err


def test_inspect_tells_sample_and_parent(gformer: Gformer, bundle: Path, static: Path) -> None:
    out = gformer("inspect", static).out
    assert "none: static" in out and "fog: 30 images in 1 batch" in out
    assert f"gformer freeze from model.gformer (SHA-256 {hashlib.sha256(bundle.read_bytes()).hexdigest()})" in out


def test_a_bundle_of_own_code_is_frozen_with_the_users_file(gformer: Gformer, bundle: Path, fog: Path) -> None:
    done = gformer("freeze", "--model", bundle, "--target", fog, "-o", "x", "--backbone", "own.py:make")
    assert done.status == 2 and "does not go with bundle" in done.err


def test_strict(gformer: Gformer, bundle: Path, fog: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(fog, tmp_path / "fog"))
    (own / "circle" / "bad.png").write_bytes(b"x")
    arguments = ["freeze", "--model", bundle, "--target", own, "-o", tmp_path / "s.gformer"]
    strict = gformer(*arguments, "--strict")
    assert strict.status == 2 and "bad.png" in strict.err and not (tmp_path / "s.gformer").exists()
    assert "1 unreadable image skipped" in gformer(*arguments).err
