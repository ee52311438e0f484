from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gformer_cli import config, preset_files
from gformer_cli.settings import Settings
from gformer_cli.train.schedule import longest_hold

Gformer = Callable[..., Any]


def test_list_names_every_preset_with_its_purpose(gformer: Gformer) -> None:
    done = gformer("presets", "list")
    assert done.status == 0
    for name in preset_files.preset_names():
        assert f"{name} " in done.out and preset_files.preset_summary(name) in done.out


def test_list_as_json(gformer: Gformer) -> None:
    found = gformer("presets", "list", "--json").json
    assert list(found) == preset_files.preset_names() and "quick" in found
    assert all(len(text) > 10 for text in found.values())


def test_list_names_the_networks_and_says_that_a_preset_may_name_code(gformer: Gformer) -> None:
    done = gformer("presets", "list")
    assert "resnet18" in done.out and "may name code of its author's own" in done.err
    assert gformer("presets", "list", "-q").err == ""


def test_a_preset_that_names_code_is_told(gformer: Gformer, tmp_path: Path) -> None:
    preset = tmp_path / "theirs.yaml"
    preset.write_text("backbone: {name: 'evil.py:make'}\n")
    done = gformer("presets", "show", preset)
    assert done.status == 0 and done.out == preset.read_text()
    assert "names code, evil.py:make, which runs only where --backbone names it too" in done.err
    assert gformer("presets", "show", preset, "--json").json == {"preset": str(preset), "text": preset.read_text()}


def test_a_preset_that_is_none_is_shown_as_it_is(gformer: Gformer, tmp_path: Path) -> None:
    preset = tmp_path / "broken.yaml"
    for text in ("a: [", "- 1\n", "backbone: 3\n", ""):
        preset.write_text(text)
        done = gformer("presets", "show", preset)
        assert (done.status, done.out, done.err) == (0, text, "")


def test_show_prints_the_file(gformer: Gformer) -> None:
    assert gformer("presets", "show", "quick").out == preset_files.preset_text("quick")


@pytest.mark.parametrize("name", preset_files.preset_names())
def test_every_preset_resolves_and_changes_something(name: str) -> None:
    assert config.resolve(preset=name) != Settings()


@pytest.mark.parametrize("name", sorted({*preset_files.preset_names()} - {"paper"}))  # that one is for meta-train alone
def test_every_preset_trains_until_validation_stops_rising(name: str) -> None:
    """And its cap leaves patience the time to run out twice."""
    options = config.resolve(preset=name).pretrain
    assert options.patience is not None
    assert 2 * options.patience * options.validate_every <= longest_hold(options.steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_files.preset_names())
def test_every_preset_works_in_a_dry_run(gformer: Gformer, data: Path, tmp_path: Path, name: str) -> None:
    small = "data.image_size=32"  # pixels: the network is tried at the size of the images
    run = ["pretrain", "--source", data / "sources", "--out", tmp_path / "r"]
    done = gformer(*run, "--preset", name, "--set", small, "--dry-run", "--json")
    assert done.status == 0
    assert done.json["settings"] == config.resolve(preset=name, assignments=[small]).model_dump(mode="json")


def test_copy_writes_a_file_that_preset_reads(gformer: Gformer, tmp_path: Path) -> None:
    assert gformer("presets", "copy", "quick", tmp_path / "mine.yaml").status == 0
    assert (tmp_path / "mine.yaml").read_text() == preset_files.preset_text("quick")
    assert config.resolve(preset=str(tmp_path / "mine.yaml")) == config.resolve(preset="quick")


def test_copy_tells_where_in_json(gformer: Gformer, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    assert gformer("presets", "copy", "quick", out, "--json").json == {"preset": "quick", "out": str(out)}
    assert gformer("presets", "copy", "quick", tmp_path).status == 2


def test_copy_does_not_replace_a_file_unasked(gformer: Gformer, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    out.write_text("seed: 1\n")
    done = gformer("presets", "copy", "quick", out)
    assert done.status == 2 and f"output file exists: {out}" in done.err
    assert yaml.safe_load(out.read_text()) == {"seed": 1}
    assert gformer("presets", "copy", "quick", out, "--overwrite").status == 0
    assert out.read_text() == preset_files.preset_text("quick")


@pytest.mark.parametrize("command", [("show", "quik"), ("copy", "quik", "never.yaml")])
def test_an_unknown_preset_names_the_nearest(gformer: Gformer, command: tuple[str, ...]) -> None:
    done = gformer("presets", *command)
    assert done.status == 2
    assert "error: unknown preset: 'quik'" in done.err and "Did you mean 'quick'?" in done.err
