"""A small exported file, and files that are not what they should be, for the examples that run it without Python."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gformer_cli.settings import DataSettings

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
INSTALLED = Path(os.environ.get("GFORMER_NODE_MODULES", EXAMPLES))
"""Where browser/node_modules and node/node_modules lie."""
BATCH = 8
ODD = ['<b>"a\\b"</b>', "tab\tbell\u0007", "מצלמה, é"]
"""Names of classes that need escapes in JSON, or care in a page."""


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def packages_of(example: str) -> Path:
    """Its node_modules; skips where they are not installed."""
    modules = INSTALLED / example / "node_modules"
    if not modules.is_dir():
        pytest.skip(f"npm install was not run in examples/{example}; .ci/run does it")
    return modules


def node() -> str:
    return shutil.which("node") or pytest.skip("no node here")


@dataclass(frozen=True)
class Site:
    """An exported file, pictures of one target, and what gformer says of them with that file."""

    model: Path
    pictures: Path
    rows: list[dict[str, str]]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)
    root = tmp_path_factory.mktemp("site")
    golden = ROOT / "tests" / "golden"
    for number, path in enumerate(sorted((golden / "images" / "fog").glob("*/*.png"))):
        made = root / "pictures" / path.parent.name / path.name
        made.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((40 + number, 31 + number), Image.Resampling.BICUBIC).save(made)
    gformer = (sys.executable, "-m", "gformer_cli")
    run(*gformer, "export", "--model", golden / "bundles" / "guarded.gformer", "-o", root / "site.onnx")
    target = ("--target", root / "pictures", "--layout", "domain", "--order", "name", "--batch-size", BATCH)
    run(*gformer, "adapt", "--model", root / "site.onnx", *target, "--out", root / "out.csv")
    with (root / "out.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 18 and any(row["label"] != row["source_label"] for row in rows)
    return Site(root / "site.onnx", root / "pictures", rows)


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, beside what npm installed for them."""
    copy = tmp_path_factory.mktemp("examples")
    for example in ("browser", "node"):
        shutil.copytree(EXAMPLES / example, copy / example, ignore=shutil.ignore_patterns("node_modules"))
        (copy / example / "node_modules").symlink_to(INSTALLED / example / "node_modules")
    return copy


@pytest.fixture(scope="session")
def batch(site: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Five images as a file of float32, and what onnxruntime in Python says of them."""
    images = np.random.default_rng(0).normal(size=(5, 3, 16, 16)).astype(np.float32)
    path = tmp_path_factory.mktemp("batch") / "images.f32"
    images.tofile(path)
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(site.model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return path, dict(zip(names, session.run(None, {"images": images}), strict=True))


def labels_of(logits: np.ndarray, classes: Sequence[str] = ("circle", "square", "stripes")) -> list[str]:
    return [classes[index] for index in logits.argmax(1)]


@pytest.fixture(scope="session")
def strangers(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are not what they should be, beside a model that is."""
    onnx = pytest.importorskip("onnx")
    root = tmp_path_factory.mktemp("strangers")
    shutil.copyfile(site.model, root / "site.onnx")
    for name in ("out.csv", "no.png"):
        (root / name).write_text("path,label\na.png,circle\n" + "b.png,square\n" * 8)
    value = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["batch", 16, 16, 3])
    nothing = onnx.helper.make_node("Identity", ["images"], ["logits"])
    result = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.UINT8, None)
    graph = onnx.helper.make_graph([nothing], "graph", [value], [result])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, root / "other.onnx")
    model.metadata_props.extend(onnx.load(site.model).metadata_props)
    onnx.save(model, root / "bytes.onnx")
    rough = DataSettings(image_size=16, antialias=False).model_dump_json()
    write_changed(site.model, root / "odd.onnx", classes=json.dumps(ODD, ensure_ascii=False))
    write_changed(site.model, root / "rough.onnx", preprocessing=rough)
    for kind in ("adaptive", "source"):
        write_changed(site.model, root / f"{kind}.onnx", only_logits=True, kind=kind)
    return root


def write_changed(model: Path, out: Path, *, only_logits: bool = False, **metadata: str) -> None:
    """The same model with other metadata and, where that is asked for, without the other outputs."""
    onnx = pytest.importorskip("onnx")
    changed = onnx.load(model)
    for entry in changed.metadata_props:
        entry.value = metadata.get(entry.key, entry.value)
    if only_logits:
        del changed.graph.output[1:]
    onnx.save(changed, out)
