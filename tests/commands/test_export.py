from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib import util
from pathlib import Path
from typing import Any

import pytest
import torch

Gformer = Callable[..., Any]
OTHER = Path(__file__).parents[1] / "golden" / "bundles" / "static.gformer"


@pytest.mark.slow
def test_an_export_is_checked_on_what_is_asked_for_and_tells_where_it_is_from(
    gformer: Gformer, bundle: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "source.onnx"
    asked = ["--model", bundle, "-o", out, "--kind", "source", "--images", data / "targets" / "fog"]
    done = gformer("export", *asked, "--check", 5, "--threads", 2, "--json").json
    assert torch.get_num_threads() == 2
    assert (done["kind"], done["guarded"], done["outputs"]) == ("source", False, ["logits"])
    assert [one["batch_size"] for one in done["checked"]] == [1, 3, 5] and done["checked_on"] == "images"
    assert 0.0 < done["largest_difference"] <= 1e-4 and done["bytes"] == out.stat().st_size

    again = gformer("export", *asked)
    assert again.status == 2 and "output file exists" in again.err
    shown = gformer("inspect", out, "--json").json
    assert (shown["kind"], shown["bundle_name"]) == ("source", bundle.name)
    assert shown["bundle"] == gformer("inspect", bundle, "--json").json
    told = gformer("inspect", out, "--parent", bundle)
    assert told.status == 0 and "source: the source model as it was" in told.out and "circle" in told.out
    other = gformer("inspect", out, "--parent", OTHER)
    assert other.status == 1 and f"was not exported from {OTHER}" in other.err
    assert "records no hash of its own" in gformer("inspect", out, "--verify").err

    kept = out.read_bytes()
    made = gformer("export", "--model", bundle, "-o", out, "--kind", "source", "--overwrite", "--check", 1)
    assert made.status == 0 and f"Wrote {out}" in made.out and out.read_bytes() == kept


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["-o", "model.pt"], "cannot be called model.pt"),
        (["-o", "m.onnx", "--kind", "static"], "is not static"),
        (["-o", "m.onnx", "--images", "nowhere"], "nowhere"),
        (["-o", "m.onnx", "--check", "0"], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_exported_is_said_before_any_work(
    gformer: Gformer, bundle: Path, options: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = gformer("export", "--model", bundle, *options)
    assert done.status == 2 and what in done.err and not list(tmp_path.iterdir())


def test_a_missing_extra_is_named(
    gformer: Gformer, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = util.find_spec
    monkeypatch.setattr(
        "gformer_cli.export.convert.find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    done = gformer("export", "--model", bundle, "-o", tmp_path / "m.onnx")
    assert done.status == 2 and "need onnxscript" in done.err and "pip install 'gformer[export]'" in done.err


@pytest.mark.slow
def test_a_static_bundle_gives_a_static_file_beside_it(gformer: Gformer, tmp_path: Path) -> None:
    bundle, out = shutil.copy(OTHER, tmp_path / "site.gformer"), tmp_path / "site.onnx"
    done = gformer("export", "--model", bundle, "--check", 1, "--logits-only", "--with-preprocessing", "--json")
    assert done.status == 0 and f"ONNX file: {out}" in done.err
    assert (done.json["kind"], done.json["outputs"]) == ("static", ["logits"])
    assert set(done.json["resized"]) == {"share", "most", "labels"}
    assert gformer("inspect", out, "--json").json["prepares"] is True
    assert done.json["bytes"] == out.stat().st_size


@pytest.mark.slow
def test_integers_are_calibrated_and_measured_on_labelled_images(
    gformer: Gformer, bundle: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "int8.onnx"
    asked = ["--model", bundle, "-o", out, "--check", 1, "--int8"]
    missing = gformer("export", *asked)
    assert missing.status == 2 and "--int8 needs images" in missing.err and "--images DIR" in missing.err
    flat = gformer("export", *asked, "--images", data / "targets" / "fog" / "circle")
    assert flat.status == 2 and not out.exists()

    done = gformer("export", *asked, "--images", data / "targets" / "fog")
    assert done.status == 0 and "What integers cost" in done.out and "float32" in done.out
    shown = gformer("inspect", out)
    assert "8-bit integers in the network, calibrated on" in shown.out
    predicted = gformer("adapt", "--model", out, "--target", data / "targets" / "fog", "--out", tmp_path / "p.csv")
    assert predicted.status == 0 and (tmp_path / "p.csv").exists()
