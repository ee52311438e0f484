"""What bundles predict stays what it was.

`bundles/` holds one small bundle of each kind, `images/` two domains of 18 images that none of them was trained on,
`predictions/` what `gformer adapt` wrote for them, `evaluations.json` what `gformer evaluate` measured (without times
and memory), and `logits.npz` each bundle's logits of one batch, in float32 and in float64. `static.gformer` is what
`gformer freeze` made from `channel-forward.gformer`. No command writes these files anew: a difference here is a change
in what deployed bundles answer.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gformer_cli.app import run

HERE = Path(__file__).parent
NEAR = 2e-5
"""Of logits up to 8 in float32, whose last digits depend on the processor."""
ADDED = ("ece_calibrated", "estimates")
"""Figures of evaluations that were not there before."""
EXACT = 2e-8
"""Of what is computed in float64, where neither processor nor order of summation counts."""
WRITTEN = 1e-5
"""Of what is written with six decimals: processors round the logits before it in their own way."""
COMMON = ("--device", "cpu", "--threads", "1", "--workers", "0", "--quiet")
BUNDLES = (
    "channel-none",
    "channel-forward",
    "channel-backward",
    "channel-part",
    "channel-constant",
    "vector",
    "constant",
    "static",
    "guarded",
)
BATCH_SIZES = (1, 5, 16)
FREEZE = ("--target", str(HERE / "images" / "fog"), "--batch-size", "6")
LIMITS = ("smallest-batch=4", "strangeness=-4", "strangeness-far=-1")
"""Of a guard that decides in every way on these images."""
ALL_METHODS = (
    *("source", "bn", "bn-mix", "tent", "tent-episodic", "shot-im", "eata", "sar", "cotta", "rotta", "t3a", "lame"),
    *("memo", "constant", "gformer", "gformer-guard"),
)
IMAGES = str(HERE / "images")
EVALUATIONS = {
    "guarded": ("--target", str(HERE / "images" / "night"), "--methods", ",".join(ALL_METHODS)),
    "guarded-label-shift": ("--target", IMAGES, "--methods", "source,gformer-guard", "--streams", "label-shift"),
    "guarded-forgetting": (
        *("--target", IMAGES, "--source", IMAGES),  # long enough for RoTTA to learn, and EATA looks at the source
        *("--methods", "source,eata,rotta", "--streams", "forgetting"),
    ),
}
UNSTEADY = ("seconds_per_image", "cost_ratio", "peak_mib")
PICTURES = (
    *("fog/circle/00", "fog/circle/04", "fog/square/01", "fog/square/03", "fog/stripes/02", "fog/stripes/05"),
    "night/circle/04",
)


def adaptations() -> dict[str, tuple[str, ...]]:
    """Options of `gformer adapt` or `gformer watch` by the name of the file that holds what it wrote."""
    found: dict[str, tuple[str, ...]] = {}
    for size in BATCH_SIZES:
        for name in BUNDLES:
            found[f"{name}-{size}"] = ("--batch-size", str(size))
        found[f"guarded-{size}-off"] = ("--batch-size", str(size), "--guard", "off")
    for size in BATCH_SIZES[:2]:
        for name in ("channel-none", "channel-forward"):
            found[f"{name}-{size}-context"] = ("--batch-size", str(size), "--context", "2")
    found["guarded-5-limits"] = ("--batch-size", "5", *(part for limit in LIMITS for part in ("--guard-limit", limit)))
    return found


def bundle_of(name: str) -> Path:
    """The bundle that a run of this name is of."""
    return HERE / "bundles" / f"{next(own for own in sorted(BUNDLES, reverse=True) if name.startswith(own))}.gformer"


def adapted(name: str, scratch: Path) -> list[dict[str, str]]:
    """The rows that `gformer adapt` writes now, and with a context `gformer watch`."""
    options = adaptations()[name]
    if "--context" in options:
        command = ("watch", str(arrived(scratch)), "--settle", "0", "--max-wait", "0", "--until-idle", "0")
    else:
        # of single images, those of one domain will do
        one = name.rsplit("-", maxsplit=1)[-1] == "1"
        command = ("adapt", "--target", str(HERE / "images" / ("night" if one else "")))
    out = scratch / "predictions.csv"
    status = run([*command, "--model", str(bundle_of(name)), "--out", str(out), "--probabilities", *COMMON, *options])
    assert status == 0
    return read_rows(out)


def arrived(scratch: Path) -> Path:
    """24 of the images, a folder each domain, one of each domain in turn, a second apart."""
    folder = scratch / "incoming"
    files = sorted((HERE / "images").glob("*/*/0[0-3].png"), key=lambda file: (file.stem, file.parent.name, file.parts))
    for second, file in enumerate(files):
        copy = folder / file.parts[-3] / f"{file.parts[-2]}-{file.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
        os.utime(copy, (1_600_000_000 + second,) * 2)
    return folder


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def evaluated(name: str, scratch: Path) -> list[dict[str, Any]]:
    """The cells that `gformer evaluate` measures now."""
    out = scratch / "results"
    options = ("--batch-size", "8", "--out", str(out), *COMMON, *EVALUATIONS[name])
    assert run(["evaluate", "--model", str(bundle_of(name)), *options]) == 0
    cells = json.loads((out / "results.json").read_text())["cells"]
    return [{key: value for key, value in cell.items() if key not in UNSTEADY} for cell in cells]


def frozen(scratch: Path) -> dict[str, torch.Tensor]:
    """The tensors of the static bundle that `gformer freeze` makes now."""
    out = scratch / "static.gformer"
    assert run(["freeze", "--model", str(bundle_of("channel-forward")), "--out", str(out), *FREEZE, *COMMON]) == 0
    return load_file(out)


def logits(name: str, kind: torch.dtype) -> np.ndarray:
    """(7, 3), of seven images of two domains."""
    from gformer_cli.bundle import load_bundle

    pixels = [np.asarray(Image.open(HERE / "images" / f"{file}.png")) for file in PICTURES]
    images = torch.from_numpy((np.stack(pixels).transpose(0, 3, 1, 2).astype(np.float32) - 128) / 64)  # exact
    bundle = load_bundle(bundle_of(name))
    backbone, model = bundle.backbone.to(kind), bundle.model.to(kind)
    with torch.no_grad():
        found: np.ndarray = model(backbone, images.to(kind)).logits.numpy()
    return found


def is_near(new: Any, old: Any) -> bool:
    """Whether two parts of a JSON document are the same, numbers up to `NEAR`."""
    if isinstance(old, dict):
        return isinstance(new, dict) and list(new) == list(old) and all(is_near(new[key], old[key]) for key in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(is_near, new, old))
    if isinstance(old, float):
        return isinstance(new, float) and abs(new - old) <= NEAR
    return bool(new == old)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """More of them add up in another order."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", adaptations())
def test_adapt_predicts_as_before(name: str, tmp_path: Path) -> None:
    new, old = adapted(name, tmp_path), read_rows(HERE / "predictions" / f"{name}.csv")
    assert [list(row) for row in new] == [list(row) for row in old]
    numbers = [key for key in old[0] if key == "confidence" or key.startswith("probability:")]
    for now, before in zip(new, old, strict=True):
        assert [now[key] for key in before if key not in numbers] == [
            before[key] for key in before if key not in numbers
        ]
        assert [float(now[key]) for key in numbers] == pytest.approx(
            [float(before[key]) for key in numbers], abs=WRITTEN, rel=0
        )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "guarded" else []) for name in EVALUATIONS]
)
def test_evaluate_measures_as_before(name: str, tmp_path: Path) -> None:
    new, old = evaluated(name, tmp_path), json.loads((HERE / "evaluations.json").read_text())[name]
    assert [(cell["method"], cell["target"]) for cell in new] == [(cell["method"], cell["target"]) for cell in old]
    for now, before in zip(new, old, strict=True):
        different = {key: (now.get(key), before[key]) for key in before if not is_near(now.get(key), before[key])}
        assert not different, before["method"]
        assert [*before, *ADDED] == sorted(now, key=[*before, *ADDED].index), before["method"]
        assert now["ece_calibrated"] is None, "no temperature was fitted for a bundle of before"
        assert list(now["estimates"]) == ["confidence"], "nor was what the other estimators go by"


@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", BUNDLES)
def test_logits_are_as_before(name: str, kind: torch.dtype) -> None:
    new = logits(name, kind)
    with np.load(HERE / "logits.npz") as file:
        old = file[f"{name}-{new.dtype}"]
    np.testing.assert_allclose(new, old, atol=NEAR if kind is torch.float32 else EXACT, rtol=0)


def test_freeze_makes_the_same_tensors(tmp_path: Path) -> None:
    new, old = frozen(tmp_path), load_file(bundle_of("static"))
    assert sorted(new) == sorted(old)
    for name, tensor in old.items():
        torch.testing.assert_close(new[name], tensor, atol=NEAR, rtol=0, msg=name)
