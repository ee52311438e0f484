"""Wrong input: one or two lines on stderr that say what, where and what to do; exit status 2; nothing written."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

Gformer = Callable[..., Any]


@pytest.fixture
def refused(gformer: Gformer, tmp_path: Path) -> Callable[..., None]:
    """Run a command line that must fail with `told` in its error and leave `tmp_path` as it is."""

    def check(*arguments: object, told: str, status: int = 2) -> None:
        before = sorted(tmp_path.rglob("*"))
        done = gformer(*arguments)
        assert done.status == status, done.err
        lines = done.err.strip().splitlines()
        assert lines[0].startswith("error: ") and len(lines) <= 2 and "Traceback" not in done.err
        assert told in done.err
        assert done.out == ""
        assert sorted(tmp_path.rglob("*")) == before

    return check


def test_missing_source_folder(refused: Any, tmp_path: Path) -> None:
    refused("pretrain", "--source", tmp_path / "none", "--out", tmp_path / "run", told="no such folder")


def test_no_images(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "site" / "cat").mkdir(parents=True)
    refused("pretrain", "--source", tmp_path / "site", "--out", tmp_path / "run", told="no images below")


def test_classes_unknown_to_the_bundle(refused: Any, bundle: Path, own_data: Path) -> None:
    (own_data / "targets" / "fog" / "circle").rename(own_data / "targets" / "fog" / "cirle")
    refused("evaluate", "--model", bundle, "--target", own_data / "targets", told="Did you mean 'circle'?")


def test_one_source_domain_with_leave_one_out(refused: Any, data: Path, preset: Path, tmp_path: Path) -> None:
    arguments = ("--source", data / "sources" / "dawn", "--out", tmp_path / "run", "--preset", preset)
    refused("pretrain", *arguments, told="one source domain only")


def test_class_folder_empty_in_one_domain(refused: Any, own_data: Path, preset: Path, tmp_path: Path) -> None:
    for image in (own_data / "sources" / "dusk" / "square").iterdir():
        image.unlink()
    arguments = ("--source", own_data / "sources", "--out", tmp_path / "run", "--preset", preset)
    refused("pretrain", *arguments, told="class folder without images")


def test_ambiguous_nesting_names_the_option(refused: Any, own_data: Path, tmp_path: Path) -> None:
    shutil.copytree(own_data / "targets" / "fog" / "circle", own_data / "sources" / "circle")
    refused("pretrain", "--source", own_data / "sources", "--out", tmp_path / "run", told="--layout domain")


def test_output_folder_that_is_not_empty(refused: Any, data: Path, preset: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("keep")
    arguments = ("--source", data / "sources", "--out", tmp_path / "run", "--preset", preset)
    refused("pretrain", *arguments, told="Continue it with --resume, replace it with --overwrite")
    refused("pretrain", *arguments, "--overwrite", told="is not a run of gformer")


def test_unknown_preset_names_the_nearest(refused: Any, data: Path, tmp_path: Path) -> None:
    arguments = ("--source", data / "sources", "--out", tmp_path / "run", "--preset", "quik")
    refused("pretrain", *arguments, told="Did you mean 'quick'?")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("pretrain.stepps=3", "Did you mean 'pretrain.steps'?"),
        ("pretrain.steps=many", "wrong value for setting pretrain.steps: 'many'"),
        ("pretrain.steps", "--set wants KEY=VALUE"),
        ("backbone.name=resnet19", "Did you mean 'resnet18'?"),
    ],
)
def test_wrong_settings(refused: Any, data: Path, preset: Path, tmp_path: Path, setting: str, told: str) -> None:
    arguments = ("--source", data / "sources", "--out", tmp_path / "run", "--preset", preset, "--set", setting)
    refused("pretrain", *arguments, told=told)


def test_not_a_bundle(refused: Any, data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.gformer").write_text("not a model")
    arguments = ("--target", data / "targets" / "fog", "--out", tmp_path / "out.csv")
    refused("adapt", "--model", tmp_path / "notes.gformer", *arguments, told="not a bundle")
    refused("adapt", "--model", tmp_path / "none.gformer", *arguments, told="no such bundle")


def test_bundle_of_a_newer_format(refused: Any, bundle: Path, data: Path, tmp_path: Path) -> None:
    with safe_open(bundle, framework="pt") as file:
        header = file.metadata()["gformer"]
    newer = header.replace('"format_version":1', '"format_version":99')
    assert newer != header
    save_file(load_file(bundle), tmp_path / "newer.gformer", metadata={"gformer": newer})
    arguments = ("--target", data / "targets" / "fog", "--out", tmp_path / "out.csv")
    refused("adapt", "--model", tmp_path / "newer.gformer", *arguments, told="Upgrade gformer")


@pytest.mark.parametrize("command", ["adapt", "evaluate"])
def test_batch_size_zero(refused: Any, bundle: Path, data: Path, tmp_path: Path, command: str) -> None:
    out = tmp_path / ("out.csv" if command == "adapt" else "out")
    arguments = ("--target", data / "targets", "--out", out, "--batch-size", "0")
    refused(command, "--model", bundle, *arguments, told="batch size must be 1 or more")


def test_output_below_a_file(refused: Any, data: Path, preset: Path, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source = ("--source", data / "sources", "--preset", preset)
    refused("pretrain", *source, "--out", tmp_path / "file", told="is a file, not a folder")
    adapt = ("adapt", "--model", bundle, "--target", data / "targets" / "fog", "--quiet")
    refused(*adapt, "--out", tmp_path / "file" / "out.csv", told="cannot write")


def test_a_full_disk_leaves_nothing_half_written(
    refused: Any, bundle: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    adapt = ("adapt", "--model", bundle, "--target", data / "targets" / "fog", "--quiet")
    refused(*adapt, "--out", tmp_path / "out.csv", told="No space left on device")


def test_a_full_disk_during_training(
    gformer: Gformer, data: Path, preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    done = gformer("pretrain", "--source", data / "sources", "--out", tmp_path / "run", "--preset", preset, "--quiet")
    assert done.status == 2 and "No space left on device" in done.err
    assert not list((tmp_path / "run").rglob("*.safetensors")) and not list(tmp_path.rglob("*.part"))


def test_unknown_method_device_and_limit(refused: Any, bundle: Path, data: Path) -> None:
    evaluate = ("evaluate", "--model", bundle, "--target", data / "targets")
    refused(*evaluate, "--method", "tnt", told="Did you mean 'tent'?")
    refused(*evaluate, "--device", "toaster", told="cannot use device 'toaster'")
    refused(*evaluate, "--fail-under", "gformer=80", told="from 0 to 1")
    refused(*evaluate, "--fail-under", "memo=0.8", told="not measured")


def test_debug_shows_where_an_error_came_from(gformer: Gformer, tmp_path: Path) -> None:
    from gformer_cli.errors import InputError

    with pytest.raises(InputError, match="no such bundle"):
        gformer("inspect", tmp_path / "none.gformer", "--debug")


def test_an_unreadable_image_is_listed_and_strict_makes_it_an_error(
    gformer: Gformer, refused: Any, bundle: Path, own_data: Path, tmp_path: Path
) -> None:
    target = own_data / "targets" / "fog"
    (target / "circle" / "00.png").write_bytes(b"")
    adapt = ("adapt", "--model", bundle, "--target", target, "--quiet")
    done = gformer(*adapt, "--out", tmp_path / "out.csv", "--json")
    assert done.status == 0 and done.json["skipped"] == [{"path": "circle/00.png", "reason": "the file is empty"}]
    assert "1 unreadable image skipped" in done.err and "circle/00.png: the file is empty" in done.err
    refused(*adapt, "--out", tmp_path / "strict.csv", "--strict", told="unreadable image: circle/00.png")


def test_nothing_readable_is_a_failure_of_the_work(refused: Any, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    adapt = ("adapt", "--model", bundle, "--target", tmp_path / "broken", "--out", tmp_path / "out.csv", "--quiet")
    refused(*adapt, told="no readable image", status=1)


def test_tensors_of_another_shape_are_a_damaged_bundle(refused: Any, bundle: Path, data: Path, tmp_path: Path) -> None:
    with safe_open(bundle, framework="pt") as file:
        header = file.metadata()["gformer"]
    tensors = load_file(bundle) | {"generator.norm.weight": torch.zeros(3)}
    save_file(tensors, tmp_path / "odd.gformer", metadata={"gformer": header})
    arguments = ("--target", data / "targets" / "fog", "--out", tmp_path / "out.csv")
    refused("adapt", "--model", tmp_path / "odd.gformer", *arguments, told="damaged bundle")
