from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.bundle import file_hash, load_bundle, read_generator, read_header
from gformer_cli.bundle.generator_file import read_card, read_generator_header
from gformer_cli.train.meta_trainer import MetaTrainer

Gformer = Callable[..., Any]
FEW = ["--set", "generator.width=8", "--set", "generator.depth=1", "--set", "generator.heads=2"]
FEW += ["--set", "generator.channel_width=4", "--set", "meta_train.largest_batch=4", "--set", "meta_train.ema=0"]
FEW += ["--set", "meta_train.validation_batches=1", "--set", "meta_train.episodes_per_step=1", "--steps", "1"]


@pytest.fixture(scope="session")
def other(data: Path, preset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a wider network on the target domains. Not to be written to."""
    from gformer_cli.app import run

    folder = tmp_path_factory.mktemp("other") / "wide"
    changes = ["--set", "backbone.width=0.25", "--set", "data.image_size=12", "--set", "pretrain.steps=1"]
    sources = ["--source", f"{data}/targets/fog", "--source", f"{data}/targets/night"]
    assert run(["pretrain", *sources, "--out", str(folder), "--preset", str(preset), *changes]) == 0
    return folder


@pytest.fixture
def words(data: Path, finished_pretrain: Path, other: Path) -> list[object]:
    """The command, of two runs of which one has two sources."""
    first = ["--run", finished_pretrain, "--source", data / "sources"]
    second = ["--run", other, "--source", data / "targets" / "fog", "--source", data / "targets" / "night"]
    return ["meta-train", *first, *second, *FEW]


@pytest.mark.slow
def test_several_runs_teach_one_generator_and_stay_as_they_are(
    gformer: Gformer, words: list[object], finished_pretrain: Path, other: Path, contents: Any, tmp_path: Path
) -> None:
    before, out = (contents(finished_pretrain), contents(other)), tmp_path / "both.safetensors"
    document = gformer(*words, "--out", out, "--json").json
    assert document["generator"] == str(out)
    assert set(document["runs"]) == {"run", "wide"}
    assert document["generator_parameters"] == read_generator_header(out).generator.parameters
    assert [sorted(run.domains) for run in read_card(out).runs] == [["dawn", "dusk", "noon"], ["fog", "night"]]
    assert (contents(finished_pretrain), contents(other)) == before


def test_what_is_shown_names_the_runs_and_what_comes_next(
    gformer: Gformer, words: list[object], tmp_path: Path
) -> None:
    out = tmp_path / "both.safetensors"
    done = gformer(*words, "--out", out)
    assert done.status == 0
    rows = [line.split()[0] for line in done.out.splitlines() if line.split()]
    assert [name for name in rows if name in ("run", "wide", "mean")] == ["run", "run", "wide", "mean"]
    assert f"gformer import --run RUN --generator {out}" in done.out
    again = gformer(*words, "--out", out)
    assert again.status == 2 and f"{out} is there already" in again.err and "--overwrite" in again.err


@pytest.mark.slow
def test_resume_after_an_interruption_equals_an_uninterrupted_training(
    gformer: Gformer, words: list[object], tmp_path: Path, stop_after: Callable[[str, int], None]
) -> None:
    whole, halved, more = tmp_path / "whole", tmp_path / "halved", ["--steps", 3]
    assert gformer(*words, *more, "--out", whole).status == 0
    stop_after("meta-train", 2)
    stopped = gformer(*words, *more, "--out", halved)
    assert stopped.status == 130 and "stopped after step 2 of 3 of the generator" in stopped.err
    assert not halved.exists()
    assert gformer(*words, *more, "--out", halved, "--resume").status == 0
    assert halved.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} >= {"whole", "halved", "whole.jsonl", "halved.jsonl"}
    assert not list(tmp_path.glob("*.checkpoints"))


def test_a_dry_run_shows_the_images_of_each_run_and_touches_nothing(
    gformer: Gformer, words: list[object], finished_pretrain: Path, other: Path, tmp_path: Path
) -> None:
    document = gformer(*words, "--out", tmp_path / "out", "--dry-run", "--json").json
    assert set(document["runs"][str(other)]) == {"fog", "night"}
    assert document["runs"][str(finished_pretrain)]["dawn"] == {"circle": 10, "square": 10, "stripes": 10}
    assert document["outputs"] == [str(tmp_path / "out"), str(tmp_path / "out.jsonl")]
    assert document["settings"]["meta_train"]["steps"] == 1 and "backbone" not in document["settings"]
    assert list(tmp_path.iterdir()) == []


def test_a_source_belongs_to_the_run_before_it(gformer: Gformer, data: Path, words: list[object]) -> None:
    source, fog = words.index("--source"), data / "targets" / "fog"
    lacking = gformer(*words[:source], *words[source + 2 :], "--out", "x", "--dry-run")
    assert lacking.status == 2 and f"--run {words[2]} has no --source" in lacking.err
    early = gformer("meta-train", "--source", fog, *words[1:], "--out", "x", "--dry-run")
    assert early.status == 2 and f"--source {fog} stands before the first --run" in early.err
    swapped = ["--run", words[6], "--source", data / "sources", "--run", words[2], *words[7:11]]
    other = gformer("meta-train", *swapped, *FEW, "--out", "x", "--dry-run")
    assert other.status == 2 and "not those that the run was started with: domain gone: fog" in other.err


def test_two_networks_of_the_same_images_are_two_runs(
    gformer: Gformer, data: Path, finished_pretrain: Path, pretrained: Path
) -> None:
    both = [word for run in (finished_pretrain, pretrained) for word in ("--run", run, "--source", data / "sources")]
    assert gformer("meta-train", *both, "--out", "x", "--dry-run").status == 0
    twice = gformer("meta-train", *both, "--source", data / "sources", "--out", "x", "--dry-run")
    assert twice.status == 2 and "folder given twice" in twice.err


def test_what_several_runs_do_not_go_with_is_told(gformer: Gformer, words: list[object], data: Path) -> None:
    def error(*more: object) -> str:
        done = gformer(*words, *more)
        assert done.status == 2
        return str(done.err)

    assert "--out is missing" in error()
    assert "--image-size is for one run, and there are 2" in error("--out", "x", "--image-size", 32)
    assert "fixed with the source model" in error("--out", "x", "--set", "data.image_size=32")
    assert "on top of a constant one fits one network alone" in error(
        "--out", "x", "--set", "generator.on_constant=true"
    )
    assert "is named twice" in error("--out", "x", "--run", words[2], "--source", data / "sources")
    assert "is not a finished run" in error("--out", "x", "--run", data, "--source", data / "sources")
    assert not Path("x").exists()


def test_out_is_for_several_runs(gformer: Gformer, data: Path, pretrained: Path, tmp_path: Path) -> None:
    done = gformer("meta-train", "--run", pretrained, "--source", data / "sources", "--out", tmp_path / "x")
    assert done.status == 2 and "--out is for several runs" in done.err


@pytest.fixture(scope="session")
def start(data: Path, finished_pretrain: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator file that training may start from."""
    from gformer_cli.app import run

    out = tmp_path_factory.mktemp("start") / "start.safetensors"
    words = ["--run", f"{finished_pretrain}", "--source", f"{data}/sources"]
    words += ["--run", f"{other}", "--source", f"{data}/targets"]
    words += [*FEW, "--set", "generator.width=12", "--set", "meta_train.learning_rate=0.05"]
    validate, looks = MetaTrainer.validate, itertools.count()
    with pytest.MonkeyPatch.context() as patch:  # the trained generator is the one that is kept
        patch.setattr(MetaTrainer, "validate", lambda self: validate(self) * 0 + next(looks))
        assert run(["meta-train", *words, "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_one_run_starts_from_a_generator_file_with_its_settings_and_keeps_it_where_nothing_is_better(
    gformer: Gformer, data: Path, pretrained: Path, start: Path
) -> None:
    words = ["meta-train", "--run", pretrained, "--source", data / "sources", "--start", start, "--steps", 1]
    done = gformer(*words, "--set", "meta_train.learning_rate=1e-9", "--set", "meta_train.constant=false")
    assert done.status == 0
    assert "no training on these images beat the generator it started from on the validation episodes" in done.err
    bundle = load_bundle(pretrained / "model.gformer")
    settings, generator = read_generator(start, bundle.backbone)
    assert bundle.header.generator.settings == settings and settings.width == 12
    kept = bundle.model.generator.state_dict()
    assert all(kept[name].equal(tensor) for name, tensor in generator.state_dict().items())
    header = read_header(pretrained / "model.gformer")
    assert header.lineage is not None
    assert (header.lineage.parent, header.lineage.parent_name) == (file_hash(start), "start.safetensors")
    assert header.settings.meta_train.start == "start.safetensors"  # the name alone


@pytest.mark.slow
def test_training_begins_where_the_start_ended(
    gformer: Gformer, data: Path, finished_pretrain: Path, pretrained: Path, start: Path, tmp_path: Path
) -> None:
    """The same steps from a start and from nothing end elsewhere; --set says what is on top of the start's settings."""
    untrained = Path(shutil.copytree(finished_pretrain, tmp_path / "untrained"))
    first: dict[Path, dict[str, Any]] = {}
    for run, more in ((pretrained, ["--start", start]), (untrained, ["--start", "none", *WIDTH])):
        words = ["--run", run, "--source", data / "sources", "--steps", 1, "--set", "meta_train.constant=false", *more]
        assert gformer("meta-train", *words, "--set", "generator.prior_count=3").status == 0
        first[run] = load_bundle(run / "model.gformer").model.generator.state_dict()
        assert read_header(run / "model.gformer").generator.settings.prior_count == 3.0
    differ = [name for name, tensor in first[untrained].items() if not tensor.equal(first[pretrained][name])]
    assert differ


WIDTH = ["--set", "generator.width=12", "--set", "generator.feed_forward=128"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--set", "generator.width=16"], "has other shapes than the settings ask for: generator.width=12 (here 16)"),
        (["--start", "nowhere.safetensors"], "nowhere.safetensors"),
    ],
)
def test_a_start_that_cannot_be_gone_on_from_is_refused(
    gformer: Gformer, data: Path, pretrained: Path, start: Path, more: list[str], why: str
) -> None:
    done = gformer("meta-train", "--run", pretrained, "--source", data / "sources", "--start", start, *more)
    assert done.status == 2 and why in done.err
    assert not (pretrained / "model.gformer").exists()


def test_a_generator_of_one_network_alone_is_no_start(
    gformer: Gformer, data: Path, pretrained: Path, tmp_path: Path, finished_pretrain: Path
) -> None:
    constant = Path(shutil.copytree(finished_pretrain, tmp_path / "constant"))
    sources = ["--source", data / "sources"]
    assert gformer("meta-train", "--run", constant, *sources, "--set", "generator.kind=constant").status == 0
    done = gformer("meta-train", "--run", pretrained, *sources, "--start", constant / "model.gformer", "--dry-run")
    assert done.status == 2 and "is of the kind constant, so it fits its own network alone" in done.err
