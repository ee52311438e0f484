"""The machinery of the training mix: choosing runs, what is measured already, tables, and all of it once."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.universal import held_out, loading, many, mix, pretrain, table, train
from benchmarks.universal.held_out import Row
from benchmarks.universal.mix import Network, Run
from gformer_cli.bundle import read_card
from gformer_cli.errors import InputError
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import SourceModels

CPU = torch.device("cpu")
TINY = """
from torch import nn
def tiny(k):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, k))
"""


def test_tasks_and_networks_are_picked_by_number_or_name() -> None:
    assert train.picked("2", ["a", "b", "c"]) == ["a", "b"]
    assert train.picked("c,a", ["a", "b", "c"]) == ["c", "a"]
    with pytest.raises(InputError, match="unknown: d"):
        train.picked("a,d", ["a", "b", "c"])


def test_a_spec_has_a_generator_a_line(tmp_path: Path) -> None:
    spec = tmp_path / "spec"
    spec.write_text("# of two\n\nbase --seed 1\nother --set a.b='x y' # why\n")
    assert many.read_spec(spec) == [
        many.Variant("base", ["--seed", "1"]), many.Variant("other", ["--set", "a.b=x y"])
    ]  # fmt: skip
    spec.write_text("base\nbase --seed 1\n")
    with pytest.raises(ValueError, match="a name twice"):
        many.read_spec(spec)


def row(method: str, accuracy: float, *, seed: int = 0, target: str = "t", generator: str = "") -> Row:
    return Row(generator, "stamps", "swin", seed, target, "stationary", 8, method, 10, accuracy)


def test_rows_that_are_written_are_read_again(tmp_path: Path) -> None:
    rows = [row("source", 0.5), row("gformer", 0.25, generator="g")]
    held_out.append(tmp_path / "new" / "cells.csv", rows[:1])
    held_out.append(tmp_path / "new" / "cells.csv", rows[1:])
    assert held_out.read(tmp_path / "new" / "cells.csv") == rows
    assert held_out.read(tmp_path / "none.csv") == []


def test_a_table_has_means_over_seeds_and_the_worst_loss(capsys: pytest.CaptureFixture[str]) -> None:
    source = [row("source", 0.5, seed=seed, target=target) for seed in (0, 1) for target in "ab"]
    others = [
        row("bn", accuracy, seed=seed, target=target)
        for (seed, target), accuracy in zip(
            [(0, "a"), (0, "b"), (1, "a"), (1, "b")], (0.6, 0.48, 0.5, 0.7), strict=True
        )
    ]
    cells = [vars(one) for one in (*source, *others)]
    assert sorted(round(loss, 6) for loss in table.losses(cells, "bn")) == [-20.0, -10.0, 0.0, 2.0]
    table.print_table(cells)
    assert "| bn | 57.0 ± 3.0 | 2.0 | 75 % |" in capsys.readouterr().out


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two tasks of two classes for networks so small that all is done in seconds."""
    (tmp_path / "tiny.py").write_text(TINY)
    tiny = Network(f"{tmp_path / 'tiny.py'}:tiny", 1e-3, steps=4, size=8, patient=50)
    monkeypatch.setattr(mix, "NETWORKS", {"tiny": tiny})
    runs = (Run("letters", "tiny"),)
    patient = (Run("shapes", "tiny", patient=True),)
    monkeypatch.setitem(mix.SETS, "mix", runs)
    monkeypatch.setitem(mix.SETS, "calibration", patient)
    monkeypatch.setattr(train, "RUNS", runs)
    monkeypatch.setattr(train, "NETWORKS", {"tiny": tiny})
    monkeypatch.setattr("benchmarks.universal.choose.CALIBRATION", patient)
    monkeypatch.setattr("benchmarks.universal.licences.NETWORKS", {"tiny": tiny})
    rng = np.random.default_rng(0)
    for task in ("letters", "shapes"):
        for place in ("sources/a", "sources/b", "sources/c", "targets/x"):
            for label in ("cat", "dog"):
                folder = tmp_path / "tasks" / task / place / label
                folder.mkdir(parents=True)
                for number in range(40):
                    pixels = rng.integers(0, 128, (8, 8, 3)) + 127 * (label == "dog")
                    Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "tasks"


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    def run(main: Callable[[], int], *words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        return main()

    return run


@pytest.mark.slow
def test_from_tasks_to_figures(
    tasks: Path, tmp_path: Path, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    runs, out, cells = tmp_path / "runs", tmp_path / "new" / "g.safetensors", tmp_path / "cells.csv"
    sets = "--set", "mix", "calibration", "--change", "pretrain.validate_every=2"
    assert call(pretrain.main, "--tasks", tasks, "--out", runs, *sets) == 0
    assert sorted(path.name for path in runs.iterdir()) == ["images", "letters+tiny", "shapes+tiny+0"]
    written = (runs / "letters+tiny" / "models" / "all.safetensors").stat().st_mtime_ns
    assert call(pretrain.main, "--tasks", tasks, "--out", runs, *sets) == 0  # what is done is not done again
    assert (runs / "letters+tiny" / "models" / "all.safetensors").stat().st_mtime_ns == written

    folder = RunFolder(runs / "letters+tiny")
    (loaded,) = loading.load_runs([Run("letters", "tiny"), Run("icons", "tiny")], runs, None, CPU)
    usual = SourceModels(folder, folder.source(), loaded.settings, CPU)
    for name in ("a", "b", "c"):
        for one, other in zip(
            loaded.models.unaware_of(name).state_dict().values(),
            usual.unaware_of(name).state_dict().values(),
            strict=True,
        ):
            assert torch.equal(one, other)

    length = "--steps", 3, "--set", "meta_train.largest_batch=8", "--calibration", runs, "--data", tasks
    assert call(train.main, "--runs", runs, "--out", out, *length) == 0
    found = json.loads(out.with_suffix(".json").read_text())
    assert found["step"] == 3 and found["batches"] == found["of"] > 0
    assert {"all-64", "all-8", "waves-8", "home-all-8", "worst_loss"} <= set(found["gformer"])
    assert found["source"]["worst_loss"] == 0.0
    card = read_card(out)
    assert [run.task for run in card.runs] == ["letters"] and card.episodes == 3
    assert call(train.main, "--runs", runs, "--out", out, "--resume", "--steps", 5) == 0
    assert read_card(out).steps == 5

    how = "--runs", runs, "--tasks", tasks, "--out", cells, "--set", "calibration", "--generator", out, "--limit", 16
    capsys.readouterr()
    assert call(held_out.main, *how, "--methods", "source,lame,gformer", "--sizes", "8,1") == 0
    first = held_out.read(cells)
    assert {(one.method, one.size, one.stream, one.n) for one in first} == {
        (method, size, stream, 16)
        for stream in held_out.KINDS
        for method, size in [("source", 8), ("lame", 8), ("gformer", 8), ("source", 1), ("gformer", 1)]
    }
    assert {one.generator for one in first if one.method == "gformer"} == {"g"}
    other = out.with_name("h.safetensors")
    other.write_bytes(out.read_bytes())
    assert call(held_out.main, *how[:-3], other, *how[-2:], "--methods", "source,gformer", "--sizes", 8) == 0
    assert {(one.generator, one.method) for one in held_out.read(cells)[len(first) :]} == {("h", "gformer")}
    assert "| gformer |" in capsys.readouterr().out
