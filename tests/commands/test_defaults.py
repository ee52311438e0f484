"""What commands do with what is not named: one run folder, `predictions.csv`, and nothing replaced unasked."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.commands import locations
from gformer_cli.errors import InputError
from gformer_cli.train.run_folder import RunFolder

Gformer = Callable[..., Any]
Train = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def train(gformer: Gformer, data: Path, preset: Path) -> Train:
    """`gformer meta-train --source DIR` with the tiny preset and further options."""

    def call(*options: object) -> Any:
        return gformer("meta-train", "--source", data / "sources", "--preset", preset, *options)

    return call


@pytest.fixture
def run(here: Path, trained: Path) -> Path:
    """A finished run where commands look for one."""
    return Path(shutil.copytree(trained, here / "gformer-run"))


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """`pipe(content)`: what stands on stdin."""

    def put(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return put


def test_names_are_those_of_the_run_folder(here: Path) -> None:
    bundle = RunFolder(locations.RUN).bundle
    assert bundle == Path("gformer-run/model.gformer")
    with pytest.raises(InputError, match=r"gformer-run/model\.gformer"):
        locations.model_of(None)


@pytest.mark.slow
def test_two_commands_from_folders_to_predictions(
    here: Path, train: Train, gformer: Gformer, data: Path, pretrained: Path, contents: Contents
) -> None:
    done = train()
    assert done.status == 0, done.err
    assert "Run folder: gformer-run" in done.err and "it is trained first" in done.err
    assert "Wrote gformer-run/model.gformer" in done.out and "Next: gformer adapt --target DIR\n" in done.out
    assert gformer("meta-train", "--source", data / "sources", "--run", pretrained).status == 0
    apart, together = contents(pretrained), contents(here / "gformer-run")
    logs = {f"{stage}.{kind}" for stage in ("pretrain", "meta-train") for kind in ("jsonl", "csv")}  # they hold times
    assert apart.keys() == together.keys()
    assert [name for name in apart if apart[name] != together[name] and name not in logs] == []

    done = gformer("adapt", "--target", data / "targets" / "fog")
    assert done.status == 0, done.err
    assert "Model: gformer-run/model.gformer" in done.err and "Predictions: predictions.csv" in done.err
    written = (here / "predictions.csv").read_bytes()
    assert written.count(b"\n") == 31
    again = gformer("adapt", "--target", data / "targets" / "night")
    assert again.status == 2 and "output file exists: predictions.csv" in again.err and "--overwrite" in again.err
    assert (here / "predictions.csv").read_bytes() == written


def test_pretrain_takes_the_same_folder_under_both_names(
    gformer: Gformer, here: Path, data: Path, preset: Path
) -> None:
    arguments = ["pretrain", "--source", data / "sources", "--preset", preset, "--dry-run", "--json"]
    assert gformer(*arguments).json["outputs"][0] == "gformer-run/settings.yaml"
    for name in ("--run", "--out"):
        assert gformer(*arguments, name, "other").json["outputs"][0] == "other/settings.yaml"


@pytest.mark.slow
def test_json_of_both_stages_is_one_document(here: Path, train: Train) -> None:
    document = train("--json").json
    assert document["bundle"] == "gformer-run/model.gformer"
    assert document["pretrained"]["run"] == "gformer-run"
    assert set(document["pretrained"]["validation_accuracy"]) == {"all", "without-dawn", "without-dusk", "without-noon"}


def test_a_dry_run_of_both_stages_touches_nothing(here: Path, train: Train) -> None:
    plan = train("--dry-run", "--json", "--image-size", 24, "--seed", 3, "--no-leave-one-out").json
    assert list(here.iterdir()) == []
    assert "gformer-run/models/all.safetensors" in plan["outputs"] and "gformer-run/model.gformer" in plan["outputs"]
    assert (plan["settings"]["data"]["image_size"], plan["settings"]["seed"]) == (24, 3)
    assert plan["settings"]["pretrain"]["leave_one_domain_out"] is False


@pytest.mark.slow
def test_an_interrupted_first_stage_goes_on_only_when_asked(
    here: Path, train: Train, stop_after: Callable[[str, int], None], pretrained: Path, contents: Contents
) -> None:
    stop_after("pretrain", 3)
    stopped = train()
    assert stopped.status == 130 and "--resume" in stopped.err
    before = contents(here)
    refused = train()
    assert refused.status == 2 and "a source model that is not finished" in refused.err and "--resume" in refused.err
    assert contents(here) == before
    done = train("--resume")
    assert done.status == 0, done.err
    assert "No finished source model" in done.err
    assert contents(here / "gformer-run" / "models") == contents(pretrained / "models")
    assert (here / "gformer-run" / "model.gformer").is_file()


@pytest.mark.slow
def test_an_interrupted_first_stage_is_started_anew_with_overwrite(
    here: Path, train: Train, stop_after: Callable[[str, int], None]
) -> None:
    stop_after("pretrain", 3)
    train()
    assert train("--overwrite", "--seed", 5).status == 0
    assert RunFolder(here / "gformer-run").settings().seed == 5


@pytest.mark.slow
def test_an_interrupted_second_stage_goes_on_with_the_same_command(
    here: Path, train: Train, stop_after: Callable[[str, int], None]
) -> None:
    command = ["--set", "pretrain.steps=3", "--image-size", 16, "--seed", 2]
    stop_after("meta-train", 1)
    assert train(*command).status == 130
    assert train(*command).status == 2
    done = train(*command, "--resume")
    assert done.status == 0, done.err
    assert "is trained first" not in done.err


@pytest.mark.parametrize(
    "options",
    [
        ["--image-size", 24],
        ["--seed", 1],
        ["--backbone", "resnet34"],
        ["--weights", "default"],
        ["--no-leave-one-out"],
        ["--set", "pretrain.steps=9"],
    ],
    ids=str,
)
def test_what_the_source_model_was_trained_with_cannot_be_changed(
    train: Train, pretrained: Path, options: list[object]
) -> None:
    done = train("--run", pretrained, *options)
    assert done.status == 2 and "fixed with the source model" in done.err
    assert not (pretrained / "model.gformer").exists()


def test_a_folder_that_is_no_run_is_left_alone(here: Path, train: Train) -> None:
    (here / "gformer-run").mkdir()
    (here / "gformer-run" / "letter.txt").write_text("dear")
    for options in ([], ["--resume"], ["--overwrite"]):
        assert train(*options).status == 2
    assert [path.name for path in (here / "gformer-run").iterdir()] == ["letter.txt"]


def test_without_a_bundle_every_command_says_how_to_make_one(gformer: Gformer, here: Path, data: Path) -> None:
    fog = data / "targets" / "fog"
    for call in (["adapt", "--target", fog], ["evaluate", "--target", fog], ["freeze", "--target", fog], ["inspect"]):
        done = gformer(*call, "-q")
        assert done.status == 2 and "gformer meta-train --source DIR" in done.err
    (here / "gformer-run").mkdir()
    assert "holds no bundle yet" in gformer("inspect").err
    assert "--run other" in gformer("inspect", "--run", "other").err
    assert "gformer evaluate --target DIR" in gformer("report").err


def test_a_bundle_is_named_once(gformer: Gformer, run: Path, data: Path) -> None:
    fog = data / "targets" / "fog"
    for call in (
        ["adapt", "--target", fog, "--model"],
        ["evaluate", "--target", fog, "--model"],
        ["freeze", "--target", fog, "--model"],
        ["inspect"],
        ["diff", run / "model.gformer"],
    ):
        done = gformer(*call, run / "model.gformer", "--run", run)
        assert done.status == 2 and "--run both say which bundle is meant" in done.err


def test_results_and_report_lie_in_the_run(gformer: Gformer, run: Path, data: Path) -> None:
    call = ["evaluate", "--target", data / "targets" / "fog", "--methods", "source,gformer"]
    done = gformer(*call)
    assert done.status == 0 and "Results: gformer-run/results" in done.err
    assert (run / "results" / "results.json").is_file()
    again = gformer(*call)
    assert again.status == 2 and "gformer-run/results" in again.err and "--overwrite" in again.err
    page = gformer("report")
    assert page.status == 0 and "Report: gformer-run/results/report.html" in page.err
    assert (run / "results" / "report.html").is_file()
    assert gformer("report").status == 2


def test_results_of_a_bundle_that_is_named_go_where_they_are_sent(
    gformer: Gformer, run: Path, data: Path, contents: Contents
) -> None:
    before = contents(run)
    done = gformer(
        "evaluate", "--target", data / "targets" / "fog", "--methods", "source", "--model", run / "model.gformer"
    )
    assert done.status == 0 and contents(run) == before


def test_freeze_diff_and_inspect_know_the_run(gformer: Gformer, run: Path, data: Path) -> None:
    done = gformer("freeze", "--target", data / "targets" / "fog")
    assert done.status == 0 and "Static bundle: gformer-run/static.gformer" in done.err
    assert (run / "static.gformer").is_file()
    assert gformer("freeze", "--target", data / "targets" / "fog").status == 2
    assert gformer("inspect", "--json").json["lineage"]["stage"] == "meta-train"
    changed = gformer("diff", run / "static.gformer", "--json").json
    assert changed["b"] == "gformer-run/model.gformer" and not changed["same"]
    assert gformer("diff", run / "static.gformer", "-q").err == ""


def test_audit_replays_with_the_bundle_of_the_run(gformer: Gformer, run: Path, data: Path) -> None:
    fog = data / "targets" / "fog"
    assert gformer("adapt", "--target", fog, "--audit", "audit.jsonl").status == 0
    done = gformer("audit", "--replay", "audit.jsonl", "--target", fog)
    assert done.status == 0 and "Model: gformer-run/model.gformer" in done.err
    assert gformer("audit", "audit.jsonl", "--run", run).status == 2


def test_watch_continues_only_a_file_that_is_named(gformer: Gformer, run: Path, here: Path, data: Path) -> None:
    watch = ["watch", data / "targets" / "fog", "--settle", 0, "--until-idle", 0]
    assert gformer(*watch).status == 0
    written = (here / "predictions.csv").read_bytes()
    again = gformer(*watch)
    assert again.status == 2 and "--out predictions.csv" in again.err
    assert gformer(*watch, "--out", "predictions.csv").status == 0
    assert (here / "predictions.csv").read_bytes() == written


def test_predictions_on_stdout_are_those_of_a_file_and_nothing_else(
    gformer: Gformer, run: Path, here: Path, data: Path
) -> None:
    fog = data / "targets" / "fog"
    assert gformer("adapt", "--target", fog, "--out", here / "p.csv", "--probabilities").status == 0
    done = gformer("adapt", "--target", fog, "--out", "-", "--probabilities")
    assert done.status == 0
    assert done.out.encode() == (here / "p.csv").read_bytes()
    assert "Predicted labels" in done.err and "30 images in 1 batch" in done.err and "Wrote" not in done.err
    quiet = gformer("adapt", "--target", fog, "--out", "-", "--quiet", "--guard", "off")
    assert quiet.err == "" and quiet.out.startswith("path,label,")
    assert {path.name for path in here.iterdir()} == {"gformer-run", "p.csv"}


def test_stdout_is_for_one_thing(gformer: Gformer, run: Path, data: Path) -> None:
    fog = data / "targets" / "fog"
    for call, told in ((("adapt", "--target", fog, "--json"), "--json"), (("watch", fog), "watch")):
        done = gformer(*call, "--out", "-")
        assert done.status == 2 and "--out - " in done.err and told in done.err and done.out == ""


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_a_list_of_files_on_stdin(
    gformer: Gformer, run: Path, data: Path, here: Path, pipe: Callable[[bytes], None], end: bytes
) -> None:
    odd = here / ("a b,\n.png" if end == b"\0" else "a b,.png")
    shutil.copy(data / "targets" / "fog" / "circle" / "00.png", odd)
    files = [*sorted((data / "targets" / "fog" / "square").iterdir()), Path(odd.name)]
    pipe(end.join(str(path).encode() for path in [*files, files[0]]) + end)
    done = gformer("adapt", "--target", "-", "--json")
    assert done.status == 0, done.err
    assert done.json["images"] == 11 and "11 files named on standard input" in done.err
    written = (here / "predictions.csv").read_text(encoding="utf-8")
    assert all(str(path) in written for path in files)


def test_a_listed_file_that_is_none_is_skipped_and_strict_stops(
    gformer: Gformer, run: Path, data: Path, pipe: Callable[[bytes], None]
) -> None:
    image = data / "targets" / "fog" / "square" / "00.png"
    content = f"{image}\nnowhere.png\n{data}\n\n".encode()
    pipe(content)
    done = gformer("adapt", "--target", "-", "--json")
    assert done.status == 0 and done.json["images"] == 1
    assert {item["path"] for item in done.json["skipped"]} == {"nowhere.png", str(data)}
    pipe(content)
    assert gformer("adapt", "--target", "-", "--strict", "--out", "other.csv").status == 2


def test_a_list_that_is_empty_or_not_alone(
    gformer: Gformer, run: Path, data: Path, pipe: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe(b"\n")
    assert "no file name on standard input" in gformer("adapt", "--target", "-").err
    pipe(b"x.png\n")
    assert "no other --target" in gformer("adapt", "--target", "-", "--target", data / "targets" / "fog").err
    monkeypatch.setattr(sys, "stdin", None)
    done = gformer("adapt", "--target", "-")
    assert done.status == 2 and "is closed" in done.err


def test_freeze_and_replay_take_a_list_too(
    gformer: Gformer, run: Path, data: Path, pipe: Callable[[bytes], None]
) -> None:
    content = "".join(f"{path}\n" for path in sorted((data / "targets" / "fog").rglob("*.png"))).encode()
    pipe(content)
    assert gformer("freeze", "--target", "-").status == 0
    pipe(content)
    assert gformer("adapt", "--target", "-", "--audit", "audit.jsonl").status == 0
    pipe(content)
    assert gformer("audit", "--replay", "audit.jsonl", "--target", "-").status == 0
