"""Each mistake ends with status 2, one or two lines that tell what is wrong and what to do, and no files."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gformer_cli.train.run_folder import RunFolder

Gformer = Callable[..., Any]
Pretrain = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]


def refused(done: Any, *texts: str, status: int = 2) -> None:
    """`done` is a short error with that status that says every one of `texts`."""
    lines = [line for line in done.err.splitlines() if not line.startswith("warning: ")]
    assert done.status == status, done.err
    assert done.out == ""
    assert 1 <= len(lines) <= 2, done.err
    assert lines[0].startswith("error: ")
    assert len(lines) == 1 or lines[1].startswith("  ")
    for text in texts:
        assert text in done.err


@pytest.fixture
def pretrain(gformer: Gformer, preset: Path, tmp_path: Path, data: Path) -> Pretrain:
    """`pretrain(source, *options)`, quietly, into `tmp_path / "run"`; afterwards nothing may be there."""

    def call(source: Path | None = None, *options: object) -> Any:
        source = source or data / "sources"
        done = gformer(
            "pretrain", "--source", source, "--out", tmp_path / "run", "--preset", preset, "--quiet", *options
        )
        assert not (tmp_path / "run").exists()
        return done

    return call


@pytest.fixture
def adapt(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> Callable[..., Any]:
    """`adapt(*options)`, quietly, into `tmp_path / "out.csv"`; afterwards nothing may be there."""

    def call(*options: object, model: Path | None = None, target: Path | None = None) -> Any:
        out = tmp_path / "out.csv"
        target = target or data / "targets" / "fog"
        done = gformer("adapt", "--model", model or bundle, "--target", target, "--out", out, "--quiet", *options)
        assert not out.exists() and not list(tmp_path.glob(".*"))
        return done

    return call


@pytest.fixture
def evaluate(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> Callable[..., Any]:
    """`evaluate(*options)`, quietly, into `tmp_path / "results"`; afterwards nothing may be there."""

    def call(*options: object, target: Path | None = None) -> Any:
        target = target or data / "targets" / "fog"
        done = gformer(
            "evaluate", "--model", bundle, "--target", target, "--out", tmp_path / "results", "--quiet", *options
        )
        assert not (tmp_path / "results").exists()
        return done

    return call


def test_a_missing_folder(pretrain: Pretrain, tmp_path: Path) -> None:
    refused(pretrain(tmp_path / "nowhere"), f"no such folder: {tmp_path / 'nowhere'}", "Check the path")


def test_a_missing_target(adapt: Gformer, tmp_path: Path) -> None:
    refused(adapt(target=tmp_path / "nowhere"), f"no such folder: {tmp_path / 'nowhere'}")


def test_a_folder_without_images(pretrain: Pretrain, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("x")
    refused(pretrain(tmp_path / "empty"), f"no images below {tmp_path / 'empty'} (other files: 1 .txt)", ".png")


def test_images_without_class_folders(pretrain: Pretrain, data: Path) -> None:
    refused(pretrain(data / "sources" / "dawn" / "circle"), "no class folders", "DIR/class/image")


def test_one_domain_alone(pretrain: Pretrain, data: Path) -> None:
    refused(pretrain(data / "sources" / "dawn"), "one source domain only (dawn)", "--no-leave-one-out")


def test_one_class_alone(pretrain: Pretrain, own_data: Path) -> None:
    for domain in (own_data / "sources").iterdir():
        shutil.rmtree(domain / "square")
        shutil.rmtree(domain / "stripes")
    refused(pretrain(own_data / "sources"), "only one class in the source folders: 'circle'")


def test_a_class_of_one_domain_alone(pretrain: Pretrain, own_data: Path) -> None:
    for name in ("dawn", "dusk"):
        shutil.rmtree(own_data / "sources" / name / "square")
    refused(pretrain(own_data / "sources"), "class 'square' is in domain 'noon' alone", "--no-leave-one-out")


def test_an_empty_class_folder(pretrain: Pretrain, own_data: Path) -> None:
    folder = own_data / "sources" / "dusk" / "circle"
    shutil.rmtree(folder)
    folder.mkdir()
    refused(pretrain(own_data / "sources"), f"class folder without images: {folder}")


def test_a_class_without_a_readable_image(pretrain: Pretrain, own_data: Path) -> None:
    for path in (own_data / "sources" / "dusk" / "circle").iterdir():
        path.write_bytes(b"")
    refused(pretrain(own_data / "sources"), "no readable image of class 'circle' in domain 'dusk'")


def test_ambiguous_nesting(pretrain: Pretrain, own_data: Path) -> None:
    dawn = own_data / "sources" / "dawn"
    (dawn / "circle" / "00.png").rename(own_data / "sources" / "dusk" / "loose.png")
    refused(pretrain(own_data / "sources"), "can be read in more than one way", "--layout domain", "--layout domains")


def test_two_domains_of_one_name(gformer: Gformer, own_data: Path, data: Path, tmp_path: Path) -> None:
    dawn = data / "sources" / "dawn"
    done = gformer("pretrain", "--source", dawn, "--source", own_data / "sources", "--out", tmp_path / "run", "--quiet")
    refused(done, "two domains are called 'dawn'", "Rename one")


def test_a_folder_that_is_given_twice(gformer: Gformer, data: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "run", "--quiet"]
    dawn = data / "sources" / "dawn"
    refused(gformer("pretrain", "--source", dawn, "--source", f"{dawn}/", *out), "folder given twice", "Leave out one")
    within = gformer("pretrain", "--source", data / "sources", "--source", dawn, *out)
    refused(within, "domain 'dawn' is given twice", "Leave out one")


def test_an_output_folder_with_something_in_it(
    gformer: Gformer, data: Path, preset: Path, tmp_path: Path, contents: Contents
) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    arguments = ["pretrain", "--source", data / "sources", "--out", tmp_path, "--preset", preset, "--quiet"]
    refused(gformer(*arguments), f"output folder is not empty: {tmp_path}", "--resume", "--overwrite")
    refused(gformer(*arguments, "--overwrite"), "is not a run of gformer", "Name another --run")
    refused(gformer(*arguments, "--resume"), "holds no run to resume")
    refused(gformer(*arguments, "--dry-run"), f"output folder is not empty: {tmp_path}")
    assert contents(tmp_path) == {"letter.txt": b"dear"}


def test_an_unknown_preset(pretrain: Pretrain) -> None:
    refused(pretrain(None, "--preset", "quik"), "unknown preset: 'quik'", "Did you mean 'quick'?")


def test_a_preset_that_is_no_yaml(pretrain: Pretrain, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("pretrain: [")
    refused(pretrain(None, "--preset", tmp_path / "p.yaml"), "is not valid YAML")


def test_an_unknown_key(pretrain: Pretrain) -> None:
    refused(pretrain(None, "--set", "pretrain.step=3"), "unknown setting 'pretrain.step'", "'pretrain.steps'")


def test_an_unknown_key_in_a_preset(pretrain: Pretrain, tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("pretrain: {stepps: 3}")
    refused(pretrain(None, "--preset", tmp_path / "p.yaml"), "unknown setting 'pretrain.stepps'", "'pretrain.steps'")


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        ("pretrain.steps=many", "pretrain.steps: 'many'"),
        ("pretrain.steps=0", "pretrain.steps: 0"),
        ("pretrain.flip=7", "pretrain.flip: 7"),
        ("backbone.stem=tiny", "backbone.stem: 'tiny'"),
        ("pretrain.steps", "--set wants KEY=VALUE, got 'pretrain.steps'"),
        ("pretrain=3", "'pretrain' is a section, not a setting"),
        ("generator.heads=3", "not divisible"),
    ],
)
def test_a_wrong_value(pretrain: Pretrain, assignment: str, told: str) -> None:
    refused(pretrain(None, "--set", assignment), told)


@pytest.mark.parametrize(
    "flag", [("--steps", "few"), ("--seed", "-1"), ("--workers", "-1"), ("--workers", "some"), ("--layout", "odd")]
)
def test_a_wrong_flag(pretrain: Pretrain, flag: tuple[str, str]) -> None:
    refused(pretrain(None, *flag))


def test_an_unknown_backbone(pretrain: Pretrain) -> None:
    refused(pretrain(None, "--backbone", "resnet19"), "unknown backbone: 'resnet19'", "Did you mean 'resnet18'?")


def test_a_missing_weights_file(pretrain: Pretrain, tmp_path: Path) -> None:
    refused(pretrain(None, "--weights", tmp_path / "no.pth"), f"no such weights file: {tmp_path / 'no.pth'}")


@pytest.mark.parametrize("weights", ["default", "IMAGENET1K_V1"])
def test_published_weights_of_another_width(pretrain: Pretrain, weights: str) -> None:
    refused(pretrain(None, "--weights", weights), f"no {weights} weights for backbone.width=0.125", "--weights none")


def test_published_weights_that_there_are_not(pretrain: Pretrain) -> None:
    options = ["--set", "backbone.width=1", "--set", "backbone.stem=standard"]
    refused(
        pretrain(None, "--weights", "IMAGENET1K_V9", *options), "no weights IMAGENET1K_V9", "IMAGENET1K_V1, DEFAULT"
    )


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there(pretrain: Pretrain, adapt: Gformer, evaluate: Gformer, device: str) -> None:
    for done in (pretrain(None, "--device", device), adapt("--device", device), evaluate("--device", device)):
        refused(done, f"cannot use device '{device}'", "--device cpu")


def test_a_run_whose_record_is_damaged(gformer: Gformer, data: Path, pretrained: Path) -> None:
    (pretrained / "source.json").write_text("{}")
    done = gformer("meta-train", "--source", data / "sources", "--run", pretrained, "--quiet")
    refused(done, f"{pretrained} is not a finished run of gformer pretrain")
    assert not (pretrained / "model.gformer").exists()


@pytest.mark.parametrize("command", ["adapt", "inspect"])
def test_a_file_that_is_no_bundle(adapt: Gformer, gformer: Gformer, tmp_path: Path, command: str) -> None:
    model = tmp_path / "model.gformer"
    model.write_bytes(b"something else entirely")
    done = adapt(model=model) if command == "adapt" else gformer("inspect", model)
    refused(done, f"not a bundle: {model}", "Give the .gformer file")


def test_a_bundle_that_is_missing(adapt: Gformer, tmp_path: Path) -> None:
    refused(adapt(model=tmp_path / "no.gformer"), f"no such bundle: {tmp_path / 'no.gformer'}")


def test_a_model_that_is_no_bundle(adapt: Gformer, trained: Path) -> None:
    refused(adapt(model=trained / "models" / "all.safetensors"), "without gformer's header")


def test_a_bundle_that_was_cut_short(adapt: Gformer, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gformer").write_bytes(bundle.read_bytes()[:-100])
    refused(adapt(model=tmp_path / "cut.gformer"), "cut.gformer")


def test_a_bundle_of_a_newer_format(adapt: Gformer, bundle: Path, tmp_path: Path) -> None:
    with safe_open(bundle, framework="pt") as file:
        header = json.loads(file.metadata()["gformer"])
    newer = json.dumps({"format_version": 4, "what": header["classes"]})
    save_file(load_file(bundle), tmp_path / "new.gformer", metadata={"gformer": newer})
    refused(adapt(model=tmp_path / "new.gformer"), "has format 4; this gformer reads up to 3", "Upgrade gformer")


def test_classes_that_the_bundle_does_not_know(evaluate: Gformer, own_data: Path) -> None:
    fog = own_data / "targets" / "fog"
    (fog / "square").rename(fog / "squares")
    refused(evaluate(target=fog), "classes that the model does not know: squares", "Did you mean 'square'?")


def test_a_flat_folder_cannot_be_evaluated(evaluate: Gformer, data: Path) -> None:
    refused(evaluate(target=data / "targets" / "fog" / "circle"), "no class folders", "gformer adapt")


@pytest.mark.parametrize("size", ["0", "-3"])
def test_a_batch_size_below_one(adapt: Gformer, evaluate: Gformer, size: str) -> None:
    for command in (adapt, evaluate):
        refused(command("--batch-size", size), f"batch size must be 1 or more, got {size}")


def test_an_unknown_method(evaluate: Gformer) -> None:
    refused(evaluate("--methods", "gforma"), "unknown method: 'gforma'", "Did you mean 'gformer'?")
    # near to none: all are listed, and none is put into the user's mouth
    refused(evaluate("--methods", "nonsense"), "unknown method: 'nonsense'", "There are: source, bn, ")


def test_a_value_that_an_option_does_not_take(adapt: Gformer, pretrain: Pretrain) -> None:
    refused(adapt("--pick", "0"), "Invalid value for '--pick': it must be greater than or equal to 1")
    refused(pretrain(None, "--log", "nonsense"), "Invalid value for '--log': 'nonsense' is not one of")


def test_an_unknown_stream(evaluate: Gformer) -> None:
    refused(evaluate("--streams", "mixd"), "unknown stream: 'mixd'", "Did you mean 'mixed'?")


def test_what_needs_source_images(evaluate: Gformer, gformer: Gformer, bundle: Path) -> None:
    refused(evaluate("--streams", "forgetting"), "the stream 'forgetting' cannot be measured here", "--source DIR")
    refused(evaluate("--tune"), "--tune needs the source images", "Add --source DIR")
    refused(gformer("evaluate", "--model", bundle, "--shifts"), "--shifts needs the source images")
    refused(gformer("evaluate", "--model", bundle), "no --target given", "--shifts with --source")


def test_what_does_not_go_with_shifts(evaluate: Gformer, gformer: Gformer, bundle: Path, data: Path) -> None:
    refused(evaluate("--shifts", "--source", data / "sources"), "takes no --target")
    shifts = ("evaluate", "--model", bundle, "--shifts", "--source", data / "sources")
    refused(gformer(*shifts, "--streams", "mixed"), "takes no --streams")


def test_a_skew_below_zero(evaluate: Gformer) -> None:
    refused(evaluate("--label-skew", "-1"), "--label-skew must be 0 or more, got -1.0")


def test_resuming_what_is_not_there(evaluate: Gformer, gformer: Gformer, bundle: Path, data: Path) -> None:
    refused(evaluate("--resume"), "nothing to resume in", "without --resume")
    nowhere = gformer("evaluate", "--model", bundle, "--target", data / "targets", "--resume")
    refused(nowhere, "--resume needs the --out folder", "Add --out DIR")


def test_a_baseline_that_is_none(evaluate: Gformer, bundle: Path, tmp_path: Path) -> None:
    refused(evaluate("--baseline", tmp_path / "missing.json"), "cannot read baseline", "No such file")
    refused(evaluate("--baseline", bundle), f"not a results.json: {bundle}")


def test_a_harm_limit_that_is_none(evaluate: Gformer) -> None:
    refused(evaluate("--fail-harm", "2"), "--fail-harm wants a value from 0 to 1, got 2.0")
    refused(evaluate("--methods", "bn", "--fail-harm", "0.1"), "'gformer', which is not measured")


@pytest.mark.parametrize("limit", ["gformer", "gformer=", "gformer=high", "gformer=1.5", "gformer=-1", "gformer=nan"])
def test_a_limit_that_is_none(evaluate: Gformer, limit: str) -> None:
    refused(evaluate("--fail-under", limit), "--fail-under wants METHOD=VALUE", repr(limit), "gformer=0.8")


def test_a_limit_on_what_is_not_measured(evaluate: Gformer) -> None:
    refused(evaluate("--methods", "bn", "--fail-under", "tent=0.5"), "--fail-under names 'tent'", "There are: bn.")


def test_an_output_without_a_known_suffix(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path) -> None:
    done = gformer("adapt", "--model", bundle, "--target", data / "targets" / "fog", "--out", tmp_path / "a.xlsx")
    refused(done, f"cannot tell the format of {tmp_path / 'a.xlsx'}", ".csv, .jsonl")


@pytest.mark.parametrize(
    "arguments",
    [
        ["meta-train"],
        ["pretrain", "--sourc", "x"],
        ["no-such-command"],
        ["presets", "show"],
        ["adapt", "--order", "up"],
    ],
)
def test_wrong_usage(gformer: Gformer, arguments: list[str]) -> None:
    refused(gformer(*arguments), "See: gformer", "--help")


def test_a_run_below_a_file(gformer: Gformer, data: Path, preset: Path, tmp_path: Path) -> None:
    """Nobody, not even root, can make a folder there."""
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "run"
    done = gformer("pretrain", "--source", data / "sources", "--out", out, "--preset", preset, "--quiet")
    refused(done, f"cannot write {out}: Not a directory")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", ["adapt", "evaluate", "presets"])
def test_results_below_a_file(gformer: Gformer, bundle: Path, data: Path, tmp_path: Path, command: str) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "new" / "a.csv"
    shared = ["--model", bundle, "--target", data / "targets" / "fog", "--out", out, "--quiet"]
    arguments = ["presets", "copy", "quick", out] if command == "presets" else [command, *shared]
    refused(gformer(*arguments), "cannot write", "Not a directory")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`full_disk("all.safetensors")`: writing a file of that name stops half way for lack of space."""

    def arrange(name: str) -> None:
        for method in ("write_bytes", "write_text"):
            original = getattr(Path, method)

            def write(path: Path, content: Any, *args: Any, original: Any = original, **kwargs: Any) -> Any:
                if name not in path.name:
                    return original(path, content, *args, **kwargs)
                original(path, content[: len(content) // 2], *args, **kwargs)
                raise OSError(errno.ENOSPC, "No space left on device")

            monkeypatch.setattr(Path, method, write)

    return arrange


def test_a_full_disk_while_pretraining_leaves_no_half_model(
    gformer: Gformer,
    data: Path,
    preset: Path,
    tmp_path: Path,
    full_disk: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    finished_pretrain: Path,
    contents: Contents,
) -> None:
    arguments = ["pretrain", "--source", data / "sources", "--out", tmp_path / "run", "--preset", preset, "--quiet"]
    full_disk("without-dusk.safetensors")
    refused(gformer(*arguments), "without-dusk.safetensors: No space left on device", "Free some space", status=1)
    assert sorted(path.name for path in (tmp_path / "run" / "models").iterdir()) == [
        "all.safetensors",
        "without-dawn.safetensors",
    ]
    monkeypatch.undo()
    assert gformer(*arguments, "--resume").status == 0
    assert contents(tmp_path / "run" / "models") == contents(finished_pretrain / "models")


@pytest.mark.slow
def test_a_full_disk_while_writing_the_bundle_leaves_none(
    gformer: Gformer, data: Path, pretrained: Path, full_disk: Callable[[str], None]
) -> None:
    full_disk("model.gformer")
    done = gformer("meta-train", "--source", data / "sources", "--run", pretrained, "--quiet")
    refused(done, "model.gformer: No space left on device", status=1)
    assert not list(pretrained.glob("*gformer*")) and not list(pretrained.glob(".*"))


def test_a_full_disk_while_adapting_leaves_no_rows(
    adapt: Gformer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def writer(file: Any) -> Any:
        file.write("half a li")
        file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(csv, "writer", writer)
    refused(adapt(), f"cannot write {tmp_path / 'out.csv'}: No space left on device", "Free some space", status=1)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_evaluating_leaves_no_results_but_what_resume_needs(
    gformer: Gformer,
    bundle: Path,
    data: Path,
    tmp_path: Path,
    full_disk: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "results"
    command = ["evaluate", "--model", bundle, "--target", data / "targets" / "fog", "--out", out, "--methods", "bn"]
    full_disk("results.json")
    refused(gformer(*command, "--quiet"), "results.json: No space left on device", status=1)
    assert [path.name for path in out.iterdir()] == ["cells.jsonl"]
    monkeypatch.undo()
    assert gformer(*command, "--resume").status == 0
    assert sorted(path.name for path in out.iterdir()) == ["results.csv", "results.json"]


def test_debug_shows_the_traceback(gformer: Gformer, data: Path, tmp_path: Path) -> None:
    from gformer_cli.errors import InputError

    arguments = ["pretrain", "--source", data / "nowhere", "--out", tmp_path / "run"]
    with pytest.raises(InputError, match="no such folder"):
        gformer(*arguments, "--debug")
    refused(gformer(*arguments), "no such folder")


def test_a_defect_is_told_without_a_traceback(
    gformer: Gformer, data: Path, preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(RunFolder, "write_source", fail)
    arguments = ["pretrain", "--source", data / "sources", "--out", tmp_path / "run", "--preset", preset, "--quiet"]
    done = gformer(*arguments, "--no-leave-one-out", "--steps", 1)
    assert done.status == 1
    assert done.err.splitlines()[-2:] == [
        "error: unexpected ZeroDivisionError: by zero",
        "  This is a defect in gformer; --debug shows where.",
    ]


@pytest.mark.parametrize(
    "arguments",
    [["adapt", "--\x1b[31m\u202e"], ["\x9bx"], ["adapt", "--device", "\u200b"], ["presets", "show", "\x1b"]],
)
def test_usage_errors_repeat_arguments_safely(gformer: Gformer, arguments: list[str]) -> None:
    done = gformer(*arguments)
    refused(done)
    assert all(character.isprintable() for character in done.err.replace("\n", ""))


@pytest.mark.parametrize("seed", ["99999999999999999999", "2147483648", "-1", "1.5", "x"])
@pytest.mark.parametrize("command", ["pretrain", "adapt", "evaluate", "freeze", "data demo digit-cameras"])
def test_a_seed_that_is_none_is_refused_by_every_command(
    gformer: Gformer, bundle: Path, data: Path, tmp_path: Path, command: str, seed: str
) -> None:
    options: dict[str, list[object]] = {
        "pretrain": ["--source", data / "sources", "--out"],
        "data demo digit-cameras": ["--out"],
    }
    predicting: list[object] = ["--model", bundle, "--target", data / "targets" / "fog", "--out"]
    done = gformer(*command.split(), *options.get(command, predicting), tmp_path / "out.csv", "--seed", seed)
    assert done.status == 2 and "--seed" in done.err and len(done.err.splitlines()) == 2, done.err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.slow
def test_a_domain_may_have_a_name_of_245_characters(gformer: Gformer, preset: Path, data: Path, tmp_path: Path) -> None:
    sources = Path(shutil.copytree(data / "sources", tmp_path / "sources"))
    (sources / "dawn").rename(sources / ("d" * 245))
    (sources / "dusk").rename(sources / "NOON")
    folders = ["--source", sources, "-q"]
    assert gformer("pretrain", *folders, "--out", tmp_path / "run", "--preset", preset).status == 0
    assert gformer("meta-train", *folders, "--run", tmp_path / "run").status == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "x", "1e400"])
def test_seconds_and_tolerances_are_numbers_from_0_on(gformer: Gformer, value: str, tmp_path: Path) -> None:
    for option in ("--max-wait", "--settle", "--until-idle"):
        done = gformer("watch", tmp_path, "--model", "x", "--out", "x.csv", option, value)
        refused(done, option, "is not a number from 0 to 1e+09")
    refused(gformer("audit", "x", "--tolerance", value), "--tolerance", "is not a number from 0")


@pytest.mark.parametrize("command", ["adapt", "evaluate", "freeze"])
def test_a_batch_that_cannot_fit_in_memory_is_told_before_the_work(
    gformer: Gformer, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("gformer_cli.bundle.described.free_memory", lambda _: 1000)
    out = tmp_path / "out.csv"
    done = gformer(command, "--model", bundle, "--target", data / "targets" / "fog", "--out", out, "--quiet")
    refused(done, "images of 16 x 16 takes at least", "of memory")
    assert not out.exists()


@pytest.mark.parametrize("threads", ["0", "-1", "257", "many", "1.5"])
@pytest.mark.parametrize("command", ["pretrain", "meta-train", "adapt", "watch", "evaluate", "freeze"])
def test_a_number_of_threads_that_is_none(gformer: Gformer, command: str, threads: str) -> None:
    refused(gformer(command, "--threads", threads), "--threads")
