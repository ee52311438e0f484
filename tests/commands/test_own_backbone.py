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
    assert done.status == 0 and f"warning: backbone {own} is your own code" in done.err
    assert gformer("meta-train", *sources, "--run", run).status == 0
    return run / "model.gformer"


def test_adapt_and_evaluate_run_it_only_when_told_to(
    gformer: Callable[..., Any], data: Path, tmp_path: Path, own: str, own_bundle: Path
) -> None:
    target = ["--model", own_bundle, "--target", data / "targets"]
    for command in (["adapt", *target, "--out", tmp_path / "rows.csv"], ["evaluate", *target]):
        refused = gformer(*command)
        assert refused.status == 2 and "which is not run from a bundle" in refused.err
        assert gformer(*command, "--backbone", own).status == 0
    assert (tmp_path / "rows.csv").is_file()


def test_inspect_runs_nothing(gformer: Callable[..., Any], own_bundle: Path) -> None:
    done = gformer("inspect", own_bundle)
    assert done.status == 0 and "own.py:small" in done.out
