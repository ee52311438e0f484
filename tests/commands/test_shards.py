from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Gformer = Callable[..., Any]
COSTS = ("seconds_per_image", "cost_ratio", "peak_mib")
"""What a clock says comes out otherwise each time."""


@pytest.fixture
def measure(gformer: Gformer, data: Path, bundle: Path) -> Callable[..., Any]:
    """`measure(out, *options)`: three streams of two targets, eight in all with both seeds."""

    def call(out: Path, *options: object) -> Any:
        what = ("--streams", "stationary,mixed,label-shift", "--methods", "bn,gformer", "--batch-size", 8)
        where = ("--model", bundle, "--target", data / "targets", "--out", out)
        return gformer("evaluate", *where, *what, "--seed", 0, "--seed", 1, *options)

    return call


def cells(folder: Path) -> list[dict[str, Any]]:
    found = json.loads((folder / "results.json").read_text())["cells"]
    return [{name: value for name, value in cell.items() if name not in COSTS} for cell in found]


@pytest.mark.slow
def test_shards_in_any_order_merge_to_the_whole(measure: Callable[..., Any], gformer: Gformer, tmp_path: Path) -> None:
    assert measure(tmp_path / "whole").status == 0
    for number in (1, 2, 3):
        assert measure(tmp_path / str(number), "--shard", f"{number}/3").status == 0
    parts = [[cell for cell in cells(tmp_path / name) if cell["method"] != "source"] for name in "123"]
    assert all(parts) and sum(map(len, parts)) == len(cells(tmp_path / "whole"))
    done = gformer("merge", *(tmp_path / name for name in "312"), "--out", tmp_path / "merged")
    assert done.status == 0 and "Wrote" in done.out
    assert cells(tmp_path / "merged") == cells(tmp_path / "whole")
    whole, merged = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "merged"))
    for ours, theirs in zip(merged["summaries"], whole["summaries"], strict=True):
        assert ours["accuracy"] == theirs["accuracy"] and ours["method"] == theirs["method"]
    assert merged["run"]["merged"] == 3 and "shard" not in merged["run"]
    assert (tmp_path / "merged" / "results.csv").read_text().count("\n") == len(cells(tmp_path / "whole")) + 1


@pytest.mark.slow
def test_what_cannot_be_merged_is_named(measure: Callable[..., Any], gformer: Gformer, tmp_path: Path) -> None:
    for name, options in {"1": ["1/2"], "2": ["2/2"], "other": ["2/2", "--limit", 5], "third": ["2/3"]}.items():
        assert measure(tmp_path / name, "--shard", *options).status == 0
    out = ("--out", tmp_path / "merged")
    assert "1 of 2 shards are missing: 2" in gformer("merge", tmp_path / "1", *out).err
    assert "hold the same shard, 1" in gformer("merge", tmp_path / "1", tmp_path / "1", *out).err
    for other in ("other", "third"):
        assert "of another evaluation" in gformer("merge", tmp_path / "1", tmp_path / other, *out).err
    assert "holds no results" in gformer("merge", tmp_path / "none", *out).err
    assert not (tmp_path / "merged").exists()


def test_a_shard_says_what_it_cannot_do(measure: Callable[..., Any], gformer: Gformer, tmp_path: Path) -> None:
    for wrong in ("0/2", "3/2", "1", "a/b"):
        done = measure(tmp_path / "x", "--shard", wrong)
        assert done.status == 2 and "not I/N" in done.err
    done = measure(tmp_path / "x", "--shard", "99/99")
    assert done.status == 2 and "has nothing to measure: there are 10 streams" in done.err
    done = measure(tmp_path / "x", "--shard", "1/2", "--fail-harm", "0.1")
    assert done.status == 2 and "--fail-harm looks at the whole evaluation" in done.err
    assert not (tmp_path / "x").exists()
