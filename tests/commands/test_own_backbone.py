"""A user's own network through the whole pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OWN = """
from torch import nn

def small(num_classes):
    body = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(4, num_classes))
"""


@pytest.fixture
def own(tmp_path: Path) -> str:
    (tmp_path / "own.py").write_text(OWN)
    return f"{tmp_path / 'own.py'}:small"


@pytest.fixture
def own_bundle(gformer: Callable[..., Any], data: Path, preset: Path, tmp_path: Path, own: str) -> Path:
    run, sources = tmp_path / "run", ["--source", data / "sources"]
    plain = ["--set", "backbone.stem=standard", "--set", "backbone.width=1"]
    done = gformer("pretrain", *sources, "--out", run, "--preset", preset, "--backbone", own, *plain)
    assert done.status == 0 and done.out.splitlines()[-1].endswith(f"--run {run} --backbone {own}")
    assert gformer("meta-train", *sources, "--run", run, "--backbone", own).status == 0
    return run / "model.gformer"


def test_adapt_and_evaluate_run_it_only_when_told_to(
    gformer: Callable[..., Any], data: Path, tmp_path: Path, own: str, own_bundle: Path
) -> None:
    target = ["--model", own_bundle, "--target", data / "targets"]
    for command in (["adapt", *target, "--out", tmp_path / "rows.csv"], ["evaluate", *target]):
        refused = gformer(*command)
        assert refused.status == 2 and "run only when the command line names it" in refused.err
        assert gformer(*command, "--backbone", own).status == 0
    assert (tmp_path / "rows.csv").is_file()


def test_import_puts_a_generator_on_it_only_when_told_to(
    gformer: Callable[..., Any], tmp_path: Path, own: str, own_bundle: Path
) -> None:
    call = ["import", "--run", tmp_path / "run", "--overwrite"]
    refused = gformer(*call)
    assert refused.status == 2 and "run only when the command line names it" in refused.err
    done = gformer(*call, "--backbone", own)
    assert done.status == 0, done.err
    assert f"gformer adapt --target DIR --run {tmp_path / 'run'} --backbone {own}" in done.out
    assert str(tmp_path).encode() not in own_bundle.read_bytes()


def test_inspect_runs_nothing(gformer: Callable[..., Any], own_bundle: Path) -> None:
    done = gformer("inspect", own_bundle)
    assert done.status == 0 and "own.py:small" in done.out


EVIL = """
from pathlib import Path
Path(__file__).with_name("it-ran").touch()
raise SystemExit("no network here")
"""


@pytest.fixture
def evil(tmp_path: Path) -> str:
    (tmp_path / "evil.py").write_text(EVIL)
    return f"{tmp_path / 'evil.py'}:make"


def assert_not_run(done: Any, evil: str, tmp_path: Path) -> None:
    assert done.status == 2
    assert f"names somebody's own code, {evil}," in done.err and "--backbone FILE.py:FUNCTION" in done.err
    assert not (tmp_path / "it-ran").exists()


def test_a_preset_makes_no_code_run(gformer: Callable[..., Any], data: Path, tmp_path: Path, evil: str) -> None:
    (tmp_path / "preset.yaml").write_text(f"backbone: {{name: '{evil}', weights: none}}")
    command = [
        "pretrain",
        "--source",
        data / "sources",
        "--out",
        tmp_path / "run",
        "--preset",
        tmp_path / "preset.yaml",
    ]
    for more in ([], ["--dry-run"], ["--set", "backbone.width=1"]):
        assert_not_run(gformer(*command, *more), evil, tmp_path)
    for named in (["--backbone", evil], ["--set", f"backbone.name={evil}"]):
        done = gformer(*command, *named)
        assert done.status == 2 and "no network here" in done.err
        (tmp_path / "it-ran").unlink()  # it was asked for


def test_a_run_folder_makes_no_code_run(
    gformer: Callable[..., Any], data: Path, pretrained: Path, tmp_path: Path, evil: str
) -> None:
    settings = pretrained / "settings.yaml"
    told = settings.read_text().replace("name: resnet18", f"name: '{evil}'")
    settings.write_text(told.replace("stem: small", "stem: standard").replace("width: 0.125", "width: 1.0"))
    command = ["meta-train", "--source", data / "sources", "--run", pretrained]
    preset = ["--preset", settings]  # what it says of the network is passed over here
    for more in ([], ["--dry-run"], ["--resume"], preset):
        assert_not_run(gformer(*command, *more), evil, tmp_path)
    assert "no network here" in gformer(*command, "--backbone", evil).err


def test_a_run_of_a_known_network_takes_no_code(
    gformer: Callable[..., Any], data: Path, pretrained: Path, tmp_path: Path, evil: str
) -> None:
    for named in (evil, "resnet50"):
        done = gformer("meta-train", "--source", data / "sources", "--run", pretrained, "--backbone", named)
        assert done.status == 2 and "backbone.name" in done.err and "fixed with the source model" in done.err
    assert not (tmp_path / "it-ran").exists()


def test_no_command_runs_code_that_a_bundle_names(
    gformer: Callable[..., Any], data: Path, tmp_path: Path, own: str, own_bundle: Path
) -> None:
    (tmp_path / "own.py").write_text(EVIL)
    model, target = ["--model", own_bundle], ["--target", data / "targets" / "fog"]
    out = tmp_path / "out.csv"
    for command in (
        ["adapt", *model, *target, "--out", out],
        ["evaluate", *model, *target],
        ["freeze", *model, *target, "--out", out],
    ):
        done = gformer(*command)
        assert done.status == 2 and "run only when the command line names it" in done.err
    assert gformer("diff", own_bundle, own_bundle).status == 0
    assert gformer("inspect", own_bundle, "--verify").status == 0
    assert not (tmp_path / "it-ran").exists()


WRONG = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, classes)

    def answer(self, images):
        return self.fc(self.bn(self.conv(images)).relu().mean(dim=(2, 3)))

class Pair(Net):
    def forward(self, images):
        return self.answer(images), images

class Later(Net):
    def forward(self, images):
        if len(images) > 4:
            raise RuntimeError("too many for me")
        return self.answer(images)
"""


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_a_network_that_does_not_answer_with_logits_is_told_before_anything_is_written(
    gformer: Callable[..., Any], data: Path, preset: Path, tmp_path: Path, more: list[str]
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    own = [
        "--backbone",
        f"{tmp_path / 'wrong.py'}:Pair",
        "--set",
        "backbone.stem=standard",
        "--set",
        "backbone.width=1",
    ]
    done = gformer(
        "pretrain", "--source", data / "sources", "--out", tmp_path / "run", "--preset", preset, *own, "-q", *more
    )
    assert done.status == 2 and "answers 3 images with a tuple" in done.err and len(done.err.splitlines()) == 2
    assert not (tmp_path / "run").exists()


def test_a_network_that_fails_later_is_told_as_the_users_own(
    gformer: Callable[..., Any], data: Path, preset: Path, tmp_path: Path
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    own = ["--backbone", f"{tmp_path / 'wrong.py'}:Later", "--set", "backbone.stem=standard"]
    plain = ["--set", "backbone.width=1", "--quiet"]
    done = gformer(
        "pretrain", "--source", data / "sources", "--out", tmp_path / "run", "--preset", preset, *own, *plain
    )
    assert done.status == 2 and "wrong.py:Later failed: too many for me" in done.err
    assert "your own code" in done.err and len(done.err.splitlines()) == 2


def test_a_network_that_was_changed_since_is_told_on_loading(
    gformer: Callable[..., Any], data: Path, tmp_path: Path, own: str, own_bundle: Path
) -> None:
    changed = (
        OWN.replace("nn.Sequential", "Two")
        + """
class Two(nn.Sequential):
    def forward(self, images):
        return {"logits": super().forward(images)}
"""
    )
    (tmp_path / "own.py").write_text(changed)
    target = ["--target", data / "targets" / "fog", "--out", tmp_path / "rows.csv"]
    done = gformer("adapt", "--model", own_bundle, *target, "--backbone", own)
    assert done.status == 2 and "answers 1 images with a dict" in done.err
