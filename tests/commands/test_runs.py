from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Gformer = Callable[..., Any]


def test_runs_are_compared_by_what_differs(gformer: Gformer, trained: Path, pretrained: Path) -> None:
    done = gformer("runs", trained, pretrained)
    assert done.status == 0
    rows = {line.split()[0]: line.split() for line in done.out.splitlines() if line}
    assert rows[str(trained)][1:3] == ["meta-trained", "4"] and rows[str(trained)][4] == "6"
    assert rows[str(pretrained)][1] == "pretrained" and rows[str(pretrained)][4:7] == ["-", "-", "-"]
    assert rows["meta_train.learning_rate"][1] == "0.05" and "meta_train.guard_batches" in rows
    assert "pretrain.steps" not in rows  # it is the same


def test_json_has_the_figures_of_the_journals(gformer: Gformer, trained: Path) -> None:
    (found,) = gformer("runs", trained, "--json").json["runs"]
    lines = [json.loads(text) for text in (trained / "meta-train.jsonl").read_text().splitlines()]
    best = max(line["validation_accuracy"] for line in lines if line["model"] == "generator")
    assert found["generator"] == {"steps": 6, "best": best, "best_step": 6}
    source = json.loads((trained / "source.json").read_text())
    assert found["source_accuracy"] == source["validation_accuracy"] and found["settings"]["meta_train.steps"] == "6"
    lines += [json.loads(text) for text in (trained / "pretrain.jsonl").read_text().splitlines()]
    last = {line["model"]: line["seconds"] for line in lines}
    assert abs(found["seconds"] - sum(last.values())) < 1e-6 and found["seconds"] > 0


def test_the_same_settings_are_said_to_be_the_same(gformer: Gformer, pretrained: Path, tmp_path: Path) -> None:
    shutil.copytree(pretrained, tmp_path / "again")
    assert "The settings are the same." in gformer("runs", pretrained, tmp_path / "again").out


def test_what_is_no_run_is_told(gformer: Gformer, pretrained: Path, tmp_path: Path) -> None:
    for folder in (tmp_path / "none", pretrained / "models"):
        done = gformer("runs", pretrained, folder)
        assert done.status == 2 and f"{folder} is not a run of gformer" in done.err and done.out == ""
