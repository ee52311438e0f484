from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gformer_cli import __version__
from gformer_cli.bundle import (
    Card,
    Figures,
    Licence,
    build_generator,
    learnt_run,
    load_bundle,
    read_generator_header,
    read_header,
    save_generator,
)
from gformer_cli.core.backbone import Backbone
from gformer_cli.networks.build import build_network
from gformer_cli.settings import BackboneSettings, GeneratorSettings

Gformer = Callable[..., Any]


def test_json_is_the_header(gformer: Gformer, bundle: Path) -> None:
    found = gformer("inspect", bundle, "--json").json
    assert found == read_header(bundle).model_dump(mode="json")


def test_the_parameter_count_is_true(gformer: Gformer, bundle: Path) -> None:
    found = gformer("inspect", bundle, "--json").json
    generator = load_bundle(bundle).model.generator
    assert found["generator"]["parameters"] == sum(parameter.numel() for parameter in generator.parameters())


def test_it_tells_where_the_bundle_came_from(gformer: Gformer, bundle: Path, trained: Path) -> None:
    found = gformer("inspect", bundle, "--json").json
    source = json.loads((trained / "source.json").read_text())
    names = ("domains", "fingerprint", "validation_accuracy", "still_rising")
    assert found["data"] == {name: source[name] for name in names}
    row = f"source model {100 * source['validation_accuracy']:.1f} % on validation images"
    assert row in " ".join(gformer("inspect", bundle).out.split())
    assert found["classes"] == ["circle", "square", "stripes"]
    assert found["versions"]["gformer"] == __version__
    assert set(found["validation"]) == {"gformer", "source", "bn", "constant"}


def test_the_table_says_the_same(gformer: Gformer, bundle: Path) -> None:
    out = gformer("inspect", bundle).out
    header = read_header(bundle)
    for text in (
        "3: circle, square, stripes",
        "16 x 16: square of the centre resized, bilinear; read upright",
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
    options = ("--set", "meta_train.constant=false", "--steps", 1)
    gformer("meta-train", "--source", data / "sources", "--run", pretrained, *options)
    assert "not calibrated" in gformer("inspect", pretrained / "model.gformer").out


def test_a_whole_bundle_verifies(gformer: Gformer, bundle: Path) -> None:
    done = gformer("inspect", bundle, "--verify")
    assert done.status == 0 and done.err == "" and "as it was written" in done.out
    assert f"content hash {read_header(bundle).content_hash}" in " ".join(done.out.split())
    found = gformer("inspect", bundle, "--verify", "--json").json
    assert found["verified"] is True and found["problems"] == []
    assert found["lineage"]["stage"] == "meta-train"


def test_a_damaged_bundle_fails_and_tells_what_differs(gformer: Gformer, bundle: Path, tmp_path: Path) -> None:
    content = bytearray(bundle.read_bytes())
    content[-1] ^= 1
    (tmp_path / "bad.gformer").write_bytes(content)
    assert gformer("inspect", tmp_path / "bad.gformer").status == 0  # without --verify nothing is recomputed
    done = gformer("inspect", tmp_path / "bad.gformer", "--verify")
    assert done.status == 1 and "bad.gformer does not verify: tensors generator.* changed since" in done.err
    assert "as it was written" not in done.out
    found = gformer("inspect", tmp_path / "bad.gformer", "--verify", "--json")
    assert found.status == 1 and found.json["verified"] is False and len(found.json["problems"]) == 1


def test_a_parent_is_checked(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> None:
    static = tmp_path / "static.gformer"
    assert gformer("freeze", "--model", bundle, "--target", data / "targets" / "fog", "-o", static).status == 0
    done = gformer("inspect", static, "--parent", bundle)
    assert done.status == 0 and f"as it was written, and made from {bundle}" in done.out
    wrong = gformer("inspect", static, "--parent", static)
    assert wrong.status == 1 and "is not its parent" in wrong.err
    none = gformer("inspect", bundle, "--parent", static)
    assert none.status == 1 and "it records no parent" in none.err


def test_a_bundle_without_hash_and_lineage_says_so(gformer: Gformer, bundle: Path, tmp_path: Path) -> None:
    content = bundle.read_bytes().replace(b"content_hash", b"content_hasX").replace(b"lineage", b"linXage")
    (tmp_path / "old.gformer").write_bytes(content)
    out = " ".join(gformer("inspect", tmp_path / "old.gformer").out.split())
    assert "made by not recorded" in out and "content hash not recorded" in out
    done = gformer("inspect", tmp_path / "old.gformer", "--verify")
    assert done.status == 1 and "holds no content hash" in done.err


def test_a_generator_file_shows_its_card(gformer: Gformer, tmp_path: Path) -> None:
    settings = GeneratorSettings(width=8, depth=1, heads=2, channel_width=4)
    backbone = Backbone(build_network("resnet18", 2, stem="small", width=0.125))
    run = learnt_run(
        "letters",
        BackboneSettings(weights="none", width=0.125),
        backbone,
        classes=["a", "b"],
        domains={"print": {"a": 1000, "b": 234}},
        fingerprint="ab",
        seed=7,
    )
    card = Card(
        runs=(run,),
        steps=1200,
        episodes=4800,
        start="a" * 64,
        licences=(Licence(name="roboto", licence="OFL-1.1", package="@fontsource/roboto"),),
        figures=(Figures(command="make figures", values={"waves": 63.5}),),
        calibration={"trust": 0.25},
    )
    path = tmp_path / "letters.safetensors"
    save_generator(path, build_generator(settings, backbone), settings, card)
    done = gformer("inspect", path, "--verify")
    assert done.status == 0, done.err
    out = " ".join(done.out.split())
    for text in (
        "channel, width 8, depth 1",
        "1 runs: 1 tasks, 1 networks",
        "letters 1 2 1,234 resnet18 0.125 20 BatchNorm none 7",
        "1,200, 4,800 episodes",
        f"SHA-256 {'a' * 64}",
        "roboto OFL-1.1 @fontsource/roboto",
        "Figures of: make figures figure value waves 63.5",
        "trust 0.25",
        "as it was written",
    ):
        assert text in out
    found = gformer("inspect", path, "--json").json
    assert found == read_generator_header(path).model_dump(mode="json")
    assert found["card"]["runs"][0]["network"]["norms"] == {"BatchNorm": 20}
    assert '"prior_count": 16.0' in gformer("inspect", path, "--verbose").err


def test_universal_is_the_one_that_comes_with_gformer(gformer: Gformer) -> None:
    found = gformer("inspect", "universal", "--json")
    assert found.status == 0 and found.json == read_generator_header("universal").model_dump(mode="json")
