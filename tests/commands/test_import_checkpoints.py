"""`gformer import` of checkpoints as training scripts save them, and of files that hold something else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.bundle import load_bundle
from tests.weights.ecosystems import ECOSYSTEMS, assert_same, average_beside, make, owners_network, timm_train

Gformer = Callable[..., Any]
CLASSES = ["ant", "bee", "cat", "dog"]
FOUND: dict[str, tuple[str, str]] = {
    "torchvision": ("", ""),
    "ddp": (", entry model", ""),
    "compile": ("", ""),
    "compiled-parts": ("", ""),
    "lightning": (", entry state_dict", ""),
    "timm": (", entry state_dict", "state_dict_ema"),
    "domainbed": (", entry model_dict", ""),
    "mmpretrain": (", entry state_dict", ""),
    "swa": ("", ""),
    "nest": (", entry state_dict", ""),
    "average-beside": ("", "ema_model"),
    "head-elsewhere": ("", ""),
}
"""By training script, what import says: which entry it takes, and which it leaves aside."""


@pytest.fixture(scope="session")
def owned() -> nn.Module:
    return owners_network()


@pytest.fixture
def take(gformer: Gformer, tmp_path: Path) -> Gformer:
    """`take(content, *options)`: import a file of `content`, or a file that is there."""
    (tmp_path / "transform.json").write_text(json.dumps({"resize": 16, "mean": 0.5, "std": 0.25}))
    (tmp_path / "classes.txt").write_text("\n".join(CLASSES))

    def call(content: Any, *options: object) -> Any:
        path = content if isinstance(content, Path) else tmp_path / "site.pth"
        if path is not content:
            torch.save(content, path)
        own = ["--backbone", "resnet18", "--set", "backbone.stem=small", "--set", "backbone.width=0.125"]
        own += ["--transform", tmp_path / "transform.json", "--classes", tmp_path / "classes.txt"]
        return gformer("import", *own, "--weights", path, "--out", tmp_path / "run", *options)

    return call


def network(tmp_path: Path) -> nn.Module:
    """That of the bundle."""
    return load_bundle(tmp_path / "run" / "model.gformer").backbone.network


@pytest.mark.parametrize("script", ECOSYSTEMS)
def test_a_checkpoint_is_taken_and_said_how(script: str, owned: nn.Module, take: Gformer, tmp_path: Path) -> None:
    save, unused = ECOSYSTEMS[script]
    done = take(save(owned))
    assert done.status == 0, done.err
    assert_same(network(tmp_path), owned)
    entry, other = FOUND[script]
    assert f"Weights: site.pth{entry}\n" in done.err
    assert (f"it also holds: {other} (--weights-key takes another)" in done.err) == bool(other)
    assert ("tensors of site.pth that the network has no place for" in done.err) == bool(unused)
    assert not unused or min(unused) in done.err


@pytest.mark.parametrize(("save", "key"), [(timm_train, "state_dict_ema"), (average_beside, "ema_model")])
def test_the_average_is_taken_when_it_is_named(
    save: Callable[[nn.Module], Any], key: str, owned: nn.Module, take: Gformer, tmp_path: Path
) -> None:
    done = take(save(owned), "--weights-key", key)
    assert done.status == 0, done.err
    assert f"Weights: site.pth, entry {key}\n" in done.err
    assert_same(network(tmp_path), make(seed=5))


def test_a_key_that_is_not_there_is_told_with_what_is(owned: nn.Module, take: Gformer) -> None:
    done = take(timm_train(owned), "--weights-key", "state_dict_emma")
    assert done.status == 2 and "state_dict_ema" in done.err.replace("state_dict_emma", "")


class Runs:
    """Unpickled, it calls `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_a_pickle_that_starts_a_program_is_refused(
    owned: nn.Module, take: Gformer, tmp_path: Path, zipped: bool
) -> None:
    content = {"state_dict": owned.state_dict(), "args": Runs(os.system, f"touch {tmp_path / 'marker'}")}
    torch.save(content, tmp_path / "site.pth", _use_new_zipfile_serialization=zipped)
    done = take(tmp_path / "site.pth")
    assert done.status == 2 and "not safe" in done.err and "Nothing of it was run" in done.err
    assert not (tmp_path / "marker").exists() and not (tmp_path / "run").exists()


def test_code_beside_the_weights_is_not_run(owned: nn.Module, take: Gformer, tmp_path: Path) -> None:
    done = take({"state_dict": owned.state_dict(), "args": Runs(Path.touch, tmp_path / "marker")})
    assert done.status == 0, done.err
    assert_same(network(tmp_path), owned)
    assert not (tmp_path / "marker").exists()


def test_a_whole_pickled_model_is_named(owned: nn.Module, take: Gformer) -> None:
    done = take({"model": owned})
    assert done.status == 2 and "pickled object of" in done.err and "ResNet" in done.err
    assert "torch.save(model.state_dict()" in done.err and "\x1b" not in done.err


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_is_named(take: Gformer, tmp_path: Path) -> None:
    scripted = torch.jit.trace(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), torch.zeros(1, 3, 4, 4))
    scripted.save(str(tmp_path / "site.pt"))
    done = take(tmp_path / "site.pt")
    assert done.status == 2 and "it is TorchScript, which is a program" in done.err
    assert "torch.save(model.state_dict()" in done.err and "\x1b" not in done.err
