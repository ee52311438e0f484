from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.app import run

Gformer = Callable[..., Any]


@pytest.fixture(scope="session")
def static(bundle: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("frozen") / "static.gformer"
    assert run(["freeze", "--model", str(bundle), "--target", f"{data}/targets/fog", "-o", str(out), "--quiet"]) == 0
    return out


def test_the_same_bundle(gformer: Gformer, bundle: Path) -> None:
    done = gformer("diff", bundle, bundle, "--exit-code")
    assert (done.status, done.out, done.err) == (0, "The two bundles are the same.\n", "")
    assert gformer("diff", bundle, bundle, "--json").json["same"] is True


def test_a_difference_is_a_failure_only_on_request(gformer: Gformer, bundle: Path, static: Path) -> None:
    assert gformer("diff", bundle, static).status == 0
    done = gformer("diff", bundle, static, "--exit-code")
    assert done.status == 1 and done.err.startswith(f"error: {bundle} and {static} differ")
    assert done.out == gformer("diff", bundle, static).out


def test_json_tells_every_layer_by_size(gformer: Gformer, bundle: Path, static: Path) -> None:
    found = gformer("diff", bundle, static, "--json").json
    assert found["same"] is False and (found["a"], found["b"]) == (str(bundle), str(static))
    changes = [layer["change"] for layer in found["model"]["layers"]]
    assert changes == sorted(changes, reverse=True) and changes[-1] > 0
    kinds = {layer["layer"]: layer["kind"] for layer in found["model"]["layers"]}
    assert list(kinds.values()).count("normalisation") == 20 and "convolution" not in kinds.values()
    assert found["source"]["same"] and len(found["generator"]["only_a"]) > 10
    assert {"key": "static.target", "a": None, "b": "fog"} in found["header"]


def test_the_table_is_cut_and_verbose_is_whole(
    gformer: Gformer, bundle: Path, static: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gformer_cli.commands.diff.SHOWN", 5)
    short, whole = gformer("diff", bundle, static).out, gformer("diff", bundle, static, "--verbose").out
    assert re.search(r"\.\.\. layers left out: 1[56]; --verbose shows all", short) and "left out" not in whole
    assert sum(" normalisation " in line for line in short.splitlines()) == 5
    assert "Network, by layer" in short and "Source model, before adapting: the same, 122 tensors" in short
    assert "Generator: in A only" in short and "Generator: in B only" in gformer("diff", static, bundle).out
    assert sum(" normalisation " in line for line in whole.splitlines()) == 20


@pytest.mark.slow
def test_other_architectures_are_reported(
    gformer: Gformer, bundle: Path, finished_pretrain: Path, data: Path, preset: Path, tmp_path: Path
) -> None:
    sources = ["--source", f"{data}/sources"]
    options = ["--preset", preset, "--set", "backbone.width=0.25", "--steps", 1, "--no-leave-one-out"]
    assert gformer("pretrain", *sources, "--out", tmp_path / "wide", *options).status == 0
    assert gformer("meta-train", *sources, "--run", tmp_path / "wide", "--steps", 1).status == 0
    done = gformer("diff", bundle, tmp_path / "wide" / "model.gformer")
    assert done.status == 0 and "backbone.width" in done.out
    assert "tensors of another shape: bn1.bias [8] to [16]" in done.out


def test_what_is_no_bundle_is_refused(gformer: Gformer, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * 100)
    for other in (tmp_path / "gone", tmp_path / "notes.txt"):
        done = gformer("diff", bundle, other)
        assert done.status == 2 and str(other) in done.err
