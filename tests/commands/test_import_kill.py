"""`gformer import`, and `meta-train` on what it made, killed at any moment: nothing half is trusted, all can go on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.app import run
from gformer_cli.bundle import load_bundle
from gformer_cli.train.run_folder import RunFolder
from tests.weights.ecosystems import assert_same, make, owners_network

Gformer = Callable[..., Any]
Contents = Callable[[Path], dict[str, bytes]]
CLASSES = ("stripes", "square", "circle")
"""Of the images that the commands' tests share, in an order that is none of the alphabet's."""


@pytest.fixture
def call(tmp_path: Path, preset: Path) -> list[object]:
    """`gformer import` of an owner's network into `tmp_path/run`."""
    torch.save(owners_network(len(CLASSES)).state_dict(), tmp_path / "site.pth")
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))
    (tmp_path / "transform.json").write_text(json.dumps({"resize": 16, "mean": 0.5, "std": 0.25}))
    own = ["import", "--backbone", "resnet18", "--set", "backbone.stem=small", "--set", "backbone.width=0.125"]
    own += ["--weights", tmp_path / "site.pth", "--classes", tmp_path / "classes.txt"]
    return [*own, "--transform", tmp_path / "transform.json", "--out", tmp_path / "run"]


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`killed("save_model", *arguments)`: a command in a process that SIGKILL ends where it would do that."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def call(where: str, *arguments: object) -> None:
        child = os.fork()
        if child == 0:
            owner: Any = RunFolder if hasattr(RunFolder, where) else sys.modules["gformer_cli.importing.model"]
            setattr(owner, where, die)
            run([str(argument) for argument in arguments])
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    import gformer_cli.importing.model  # noqa: F401  # the child has it to patch

    return call


STEPS = ("write_imported", "save_model", "save_bundle")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
@pytest.mark.parametrize("where", STEPS)
def test_an_import_that_was_killed_is_none(
    where: str, call: list[object], killed: Callable[..., None], gformer: Gformer, data: Path, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    killed(where, *call)
    assert place.is_dir() and not (place / "model.gformer").exists()
    for command in (["adapt", "--target", data / "targets" / "fog"], ["inspect"]):
        refused = gformer(*command, "--run", place)
        assert refused.status == 2 and "holds no bundle yet" in refused.err
    if any(place.iterdir()):
        again = gformer(*call)
        assert again.status == 2 and "(it holds an import that is not finished)" in again.err
        assert "Replace it with --overwrite" in again.err and "--resume" not in again.err
    assert gformer(*call, "--overwrite").status == 0
    assert_same(load_bundle(place / "model.gformer").backbone.network, owners_network(len(CLASSES)))
    assert {path.name for path in place.iterdir()} == {"imported.json", "model.gformer", "models", "settings.yaml"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_nothing_is_trained_in_the_place_of_an_import_that_was_killed(
    resume: list[str],
    call: list[object],
    killed: Callable[..., None],
    gformer: Gformer,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the weights are at hand, by their name alone, as starting weights of a training."""
    monkeypatch.chdir(tmp_path)
    killed("save_model", *call)
    done = gformer("meta-train", "--source", data / "sources", "--run", tmp_path / "run", "--steps", "1", *resume)
    assert done.status == 2, done.out
    assert "all.safetensors" in done.err and "gformer import --overwrite" in done.err
    assert not (tmp_path / "run" / "models").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a copy of this process")
@pytest.mark.parametrize("where", STEPS)
def test_a_kill_while_it_replaces_leaves_what_was_there(
    where: str, call: list[object], killed: Callable[..., None], gformer: Gformer, contents: Contents, tmp_path: Path
) -> None:
    place = tmp_path / "run"
    assert gformer(*call).status == 0
    before = contents(place)
    torch.save(make(len(CLASSES), seed=5).state_dict(), tmp_path / "site.pth")
    killed(where, *call, "--overwrite")
    after = contents(place)
    assert {name: after[name] for name in before} == before
    assert gformer(*call, "--overwrite").status == 0
    assert_same(load_bundle(place / "model.gformer").backbone.network, make(len(CLASSES), seed=5))
    assert not (place / "next").exists()


def test_an_imported_run_is_not_resumed_by_pretrain(call: list[object], gformer: Gformer, data: Path) -> None:
    assert gformer(*call).status == 0
    done = gformer("pretrain", "--source", data / "sources", "--run", call[-1], "--resume")
    assert done.status == 2 and "is imported, not trained" in done.err


@pytest.mark.slow
def test_meta_train_that_was_killed_while_it_fine_tuned_copies_goes_on_to_the_same_bundle(
    call: list[object], gformer: Gformer, data: Path, preset: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "run", tmp_path / "broken"
    assert gformer(*call).status == 0
    shutil.copytree(whole, broken)
    command = ["meta-train", "--source", data / "sources", "--preset", preset, "--leave-one-domain-out", "3"]
    command += ["--set", "pretrain.batch_size=9", "--threads", "1", "--start", "none"]
    assert gformer(*command, "--run", whole).status == 0
    process = [sys.executable, "-m", "gformer_cli", *map(str, command), "--run", str(broken)]
    with subprocess.Popen(process, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as started:
        while len(list((broken / "models").iterdir())) < 2:  # the imported model, and the first of three copies
            assert started.poll() is None
            time.sleep(0.002)
        started.send_signal(signal.SIGKILL)
    assert len(list((broken / "models").iterdir())) < 4
    done = gformer(*command, "--run", broken, "--resume")
    assert done.status == 0, done.err
    assert (broken / "model.gformer").read_bytes() == (whole / "model.gformer").read_bytes()
    for path in (whole / "models").iterdir():
        assert (broken / "models" / path.name).read_bytes() == path.read_bytes()
