"""The failures that the field has published must show: a harness that hides collapse is worth nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.slow

pytest.importorskip("mlxtend")
pytest.importorskip("sklearn")


def gformer(*arguments: object) -> str:
    """Run one command and return its stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "gformer_cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int, str], Any]:
    """Methods on the scanner's digits, which a model of the cameras reads well without adapting."""
    root = tmp_path_factory.mktemp("collapse")
    data, run = root / "data", root / "run"
    gformer("data", "demo", "digit-cameras", "--out", data)
    source = ("--source", data / "sources")
    gformer("pretrain", *source, "--out", run, "--preset", "quick", "--steps", "150", "--no-leave-one-out")
    gformer("meta-train", *source, "--run", run, "--steps", "2", "--set", "meta_train.constant=false",
            "--set", "meta_train.guard_batches=0")  # fmt: skip
    document = json.loads(
        gformer("evaluate", "--model", run / "model.gformer", "--target", data / "targets" / "scanner", "--json",
                "--methods", "source,bn,tent", "--streams", "stationary,label-shift,batch-sizes", "--label-skew", 0,
                "--batch-size", 32)
    )  # fmt: skip
    return {(s["stream"], s["batch_size"], s["method"]): s for s in document["summaries"]}


def test_the_source_model_reads_this_target_in_any_order(summaries: dict[tuple[str, int, str], Any]) -> None:
    alone = summaries["stationary", 32, "source"]["accuracy"]
    assert alone > 0.7
    assert summaries["label-shift", 32, "source"]["accuracy"] == pytest.approx(alone)


@pytest.mark.parametrize("method", ["bn", "tent"])
def test_batches_of_one_class_are_the_end_of_batch_statistics(
    summaries: dict[tuple[str, int, str], Any], method: str
) -> None:
    source, found = (summaries["label-shift", 32, name] for name in ("source", method))
    assert found["accuracy"] < source["accuracy"] - 0.2
    assert found["harm"] > 0.2 and found["to_source"]["high"] < -0.1
    assert found["harmed_batches"] > 0.8
    # in shuffled batches the same methods are all right
    assert summaries["stationary", 32, method]["accuracy"] > source["accuracy"] - 0.15


@pytest.mark.parametrize("method", ["bn", "tent"])
def test_batches_of_one_image_are_as_well(summaries: dict[tuple[str, int, str], Any], method: str) -> None:
    one, many = summaries["batch-sizes", 1, method], summaries["batch-sizes", 128, method]
    assert one["accuracy"] < summaries["batch-sizes", 1, "source"]["accuracy"] - 0.3
    assert one["accuracy"] < many["accuracy"] - 0.3
