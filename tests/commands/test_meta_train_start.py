"""What `gformer meta-train` goes on from. `typed` adds nothing to a command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gformer_cli.bundle import file_hash, generator_path, load_bundle, read_generator, read_header
from gformer_cli.bundle.transplant import generator_settings

Gformer = Callable[..., Any]
Plan = Callable[..., Any]
HOPELESS = ["--steps", 1, "--set", "meta_train.learning_rate=1e-9", "--set", "meta_train.constant=false"]
BY_ITSELF = "Training goes on from universal, the generator that comes with gformer"
UNTRAINED = "Training begins with an untrained generator, since --set names its settings"


@pytest.fixture
def sources(data: Path) -> list[object]:
    return ["meta-train", "--source", data / "sources"]


@pytest.fixture
def plan(typed: Gformer, sources: list[object], finished_pretrain: Path) -> Plan:
    """`plan(*options)`: the settings that meta-training of the pretrained run would have, and what is said of them."""

    def show(*options: object) -> tuple[Any, str]:
        done = typed(*sources, "--run", finished_pretrain, "--dry-run", "--json", *options)
        assert done.status == 0, done.err
        return done.json["settings"], done.err

    return show


def test_it_is_the_shipped_generator_with_its_settings_whatever_the_presets_are(plan: Plan) -> None:
    for options in ([], ["--preset", "efficientnet-lite0"]):
        settings, said = plan(*options)
        assert settings["meta_train"]["start"] == "universal"
        assert settings["generator"] == generator_settings("universal").model_dump(mode="json")
        assert BY_ITSELF in said


@pytest.mark.parametrize("named", [["--start", "none"], ["--set", "meta_train.start=none"]])
def test_it_is_none_where_the_command_says_so(plan: Plan, named: list[str]) -> None:
    settings, said = plan(*named)
    assert settings["meta_train"]["start"] == "none" and settings["generator"]["width"] == 8
    assert BY_ITSELF not in said and UNTRAINED not in said


def test_a_preset_file_may_name_it(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("meta_train: {start: none, clip: 3}\n")
    settings, _ = plan("--preset", tmp_path / "own.yaml")
    assert (settings["meta_train"]["start"], settings["meta_train"]["clip"]) == ("none", 3.0)
    (tmp_path / "own.yaml").write_text("meta_train: {clip: 3}\n")
    settings, _ = plan("--preset", tmp_path / "own.yaml")
    assert (settings["meta_train"]["start"], settings["meta_train"]["clip"]) == ("universal", 3.0)


def test_who_sets_the_generator_trains_it_from_nothing_and_is_told(plan: Plan) -> None:
    settings, said = plan("--set", "generator.depth=3")
    assert settings["meta_train"]["start"] == "none"
    assert (settings["generator"]["depth"], settings["generator"]["width"]) == (3, 8)
    assert UNTRAINED in said and "--start universal" in said
    settings, said = plan("--set", "generator.prior_count=3", "--start", "universal")
    assert settings["meta_train"]["start"] == "universal" and UNTRAINED not in said
    assert (settings["generator"]["prior_count"], settings["generator"]["width"]) == (3.0, 64)


def test_a_generator_of_another_kind_begins_with_nothing(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("generator: {kind: constant}\n")
    settings, said = plan("--preset", tmp_path / "own.yaml")
    assert (settings["meta_train"]["start"], settings["generator"]["kind"]) == ("none", "constant")
    assert BY_ITSELF not in said
    settings, said = plan("--set", "generator.kind=vector", "--set", "generator.probe=forward")
    assert (settings["meta_train"]["start"], settings["generator"]["kind"]) == ("none", "vector")
    assert UNTRAINED not in said  # no start has that kind


def test_a_run_that_was_started_with_a_file_keeps_it(
    typed: Gformer, sources: list[object], pretrained: Path, bundle: Path
) -> None:
    settings = yaml.safe_load((pretrained / "settings.yaml").read_text())
    settings["meta_train"]["start"] = str(bundle)
    (pretrained / "settings.yaml").write_text(yaml.safe_dump(settings))
    done = typed(*sources, "--run", pretrained, "--dry-run", "--json")
    assert done.json["settings"]["meta_train"]["start"] == str(bundle)


@pytest.mark.slow
def test_what_nothing_beats_is_kept_and_told(typed: Gformer, sources: list[object], pretrained: Path) -> None:
    done = typed(*sources, "--run", pretrained, *HOPELESS)
    assert done.status == 0 and BY_ITSELF in done.err
    assert "no training on these images beat the generator it started from" in done.err
    bundle = load_bundle(pretrained / "model.gformer")
    _, generator = read_generator("universal", bundle.backbone)
    kept = bundle.model.generator.state_dict()
    assert all(kept[name].equal(tensor) for name, tensor in generator.state_dict().items())
    header = read_header(pretrained / "model.gformer")
    assert header.settings.meta_train.start == "universal"
    assert header.lineage is not None and header.lineage.parent == file_hash(generator_path("universal"))


@pytest.mark.slow
def test_a_run_that_begins_with_its_source_model_records_it(
    typed: Gformer, sources: list[object], preset: Path, tmp_path: Path
) -> None:
    words = [*sources, "--run", tmp_path / "run", "--preset", preset, *HOPELESS, "--no-leave-one-out"]
    assert typed(*words).status == 0
    settings = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert settings["meta_train"]["start"] == "universal"
    assert settings["generator"] == generator_settings("universal").model_dump(mode="json")
    again = [*sources, "--run", tmp_path / "run", "--overwrite", "--dry-run", "--json", "--set", "generator.depth=1"]
    assert typed(*again).json["settings"]["meta_train"]["start"] == "none"


@pytest.mark.slow
@pytest.mark.parametrize("start", ["none", "universal"])
def test_resume_goes_on_with_what_was_begun(
    typed: Gformer,
    sources: list[object],
    pretrained: Path,
    tmp_path: Path,
    stop_after: Callable[[str, int], None],
    start: str,
) -> None:
    stop_after("meta-train", 1)
    words = [*sources, "--run", pretrained, "--set", "meta_train.constant=false"]
    stopped = typed(*words, "--start", start)
    assert stopped.status == 130 and "stopped after step" in stopped.err
    copy = Path(shutil.copytree(pretrained, tmp_path / "copy"))
    fresh = typed(*sources, "--run", copy, "--overwrite", "--dry-run", "--json")
    assert fresh.json["settings"]["meta_train"]["start"] == "universal"
    done = typed(*words, "--resume")
    assert done.status == 0 and f"meta_train.start={start}" in done.err
    assert read_header(pretrained / "model.gformer").settings.meta_train.start == start


def test_resume_of_an_unfinished_source_model_goes_on_with_what_its_run_says(
    typed: Gformer, sources: list[object], preset: Path, tmp_path: Path, stop_after: Callable[[str, int], None]
) -> None:
    stop_after("pretrain", 1)
    words = [*sources, "--run", tmp_path / "run", "--preset", preset]
    assert typed(*words, "--start", "none").status == 130
    resumed = typed(*words, "--resume", "--dry-run", "--json").json
    assert resumed["settings"]["meta_train"]["start"] == "none"


def test_several_runs_go_on_from_it_as_well(
    typed: Gformer, data: Path, finished_pretrain: Path, pretrained: Path, tmp_path: Path
) -> None:
    words = [word for run in (finished_pretrain, pretrained) for word in ("--run", run, "--source", data / "sources")]
    plan = ["meta-train", *words, "--out", tmp_path / "x", "--dry-run"]
    shown = typed(*plan, "--json").json["settings"]
    assert shown["meta_train"]["start"] == "universal"
    assert shown["generator"] == generator_settings("universal").model_dump(mode="json")
    assert "Start: universal" in typed(*plan).out
    for more in (["--start", "none"], ["--set", "generator.depth=1"]):
        assert "Start: none" in typed(*plan, *more).out
