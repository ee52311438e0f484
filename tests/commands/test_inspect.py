from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gformer_cli import __version__
from gformer_cli.bundle import load_bundle, read_header

Gformer = Callable[..., Any]


def test_json_is_the_header(gformer: Gformer, bundle: Path) -> None:
    found = gformer("inspect", bundle, "--json").json
    assert found == read_header(bundle).model_dump(mode="json")


def test_the_parameter_count_is_true(gformer: Gformer, bundle: Path) -> None:
    found = gformer("inspect", bundle, "--json").json
    generator = load_bundle(bundle).method.generator
    assert found["generator"]["parameters"] == sum(parameter.numel() for parameter in generator.parameters())


def test_it_tells_where_the_bundle_came_from(gformer: Gformer, bundle: Path, trained: Path) -> None:
    found = gformer("inspect", bundle, "--json").json
    source = json.loads((trained / "source.json").read_text())
    assert found["data"] == {"domains": source["domains"], "fingerprint": source["fingerprint"]}
    assert found["classes"] == ["circle", "square", "stripes"]
    assert found["versions"]["gformer"] == __version__
    assert set(found["validation"]) == {"gformer", "source", "bn", "constant"}


def test_the_table_says_the_same(gformer: Gformer, bundle: Path) -> None:
    out = gformer("inspect", bundle).out
    header = read_header(bundle)
    for text in (
        "3: circle, square, stripes",
        "16 x 16, crop",
        "resnet18, stem small, width 0.125",
        f"channel, width 8, depth 1, {header.generator.parameters:,} parameters",
        "dawn (30 images), dusk (30 images), noon (30 images)",
        header.data.fingerprint[:16],
        f"gformer {100 * header.validation['gformer']:.1f} %",
    ):
        assert text in out


def test_verbose_shows_the_settings(gformer: Gformer, bundle: Path) -> None:
    assert "learning_rate: 0.05" in gformer("inspect", bundle, "--verbose").err
    assert gformer("inspect", bundle).err == ""


def test_it_shows_the_limits_and_figures_of_the_guard(gformer: Gformer, bundle: Path) -> None:
    found = gformer("inspect", bundle, "--json").json["guard"]
    out = gformer("inspect", bundle).out
    assert f"strangeness {found['rule']['strangeness']['limit']:.3g}, strangeness-far" in out
    assert f"hostile {100 * found['figures']['flagged_hostile']:.1f} %" in out
    assert f"{100 * found['figures']['gain']:.1f} points without" in out
    assert f"{100 * found['figures']['harm_guarded']:.1f} points with, at worst" in out


def test_it_says_when_there_is_no_guard(gformer: Gformer, pretrained: Path, data: Path) -> None:
    options = ("--set", "meta_train.control=false", "--steps", 1)
    gformer("meta-train", "--source", data / "sources", "--run", pretrained, *options)
    assert "not calibrated" in gformer("inspect", pretrained / "model.gformer").out
