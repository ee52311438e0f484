"""An exported file in Node.js and in C++, by the examples: the answers of Python's onnxruntime."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Preprocessing, to_pixels
from gformer_cli.settings import DataSettings
from tests.elsewhere.conftest import EXAMPLES, ODD, Site, labels_of, node, packages_of, run

pytestmark = pytest.mark.slow

HEADERS = Path(os.environ.get("GFORMER_ONNXRUNTIME_HEADERS", "/usr/include/onnxruntime"))


def cases() -> Iterator[tuple[DataSettings, tuple[int, int]]]:
    """Ways of preprocessing, and sizes, none higher than wide: there Pillow's versions differ by a level."""
    sizes = [(37, 23), (16, 16), (9, 5), (300, 201)]
    more: list[dict[str, Any]] = [
        {},
        {"resize_size": 20},
        {"resize_size": 13, "centre_rounding": "down", "fill": (9, 99, 200)},
    ]
    ways = itertools.product(("crop", "stretch", "pad"), more)
    for (resize, rest), size in itertools.product(ways, sizes):
        for interpolation in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
            yield DataSettings(image_size=16, resize=resize, interpolation=interpolation, **rest), size
    for channels in ("bgr", "grey"):
        yield DataSettings(image_size=16, channels=channels), (37, 23)


def test_pixels_become_the_input_that_they_become_in_python(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    asked, wanted = [], []
    for number, (settings, (width, height)) in enumerate(cases()):
        pixels = random.integers(0, 256, (height, width, 4), dtype=np.uint8)
        pixels.tofile(tmp_path / f"{number}.rgba")
        how = Preprocessing.of(settings, Depth())
        made = to_pixels(Image.fromarray(pixels[..., :3].copy()), how)
        wanted.append(how.network_input(made[None], torch.device("cpu"))[0].numpy())
        asked.append({"width": width, "height": height, "how": settings.model_dump(mode="json")})
    (tmp_path / "asked.json").write_text(json.dumps(asked))
    (tmp_path / "ask.mjs").write_text(
        f"""import {{ readFileSync, writeFileSync }} from "node:fs";
        import {{ toInput }} from "{EXAMPLES.as_uri()}/browser/pixels.js";
        process.chdir("{tmp_path}");
        JSON.parse(readFileSync("asked.json")).forEach(({{ how, ...picture }}, number) => {{
          const data = readFileSync(`${{number}}.rgba`);
          writeFileSync(`${{number}}.f32`, toInput({{ ...picture, data }}, how));
        }});"""
    )
    run(node(), tmp_path / "ask.mjs")
    assert len(wanted) == 218
    for number, inputs in enumerate(wanted):
        got = np.fromfile(tmp_path / f"{number}.f32", np.float32).reshape(inputs.shape)
        assert np.array_equal(got, inputs), asked[number]


def test_node_gives_the_outputs_of_python(
    site: Site, examples: Path, batch: tuple[Path, dict[str, np.ndarray]]
) -> None:
    packages_of("node")
    program = (node(), examples / "node" / "predict.mjs")
    told = json.loads(run(*program, "--json", site.model, batch[0]))
    assert set(told) == set(batch[1])
    for name, values in batch[1].items():
        assert told[name]["dims"] == list(values.shape)
        assert np.allclose(np.reshape(told[name]["data"], values.shape), values, rtol=0.0, atol=1e-4), name


def test_node_predicts_pictures_as_gformer_does(site: Site, examples: Path) -> None:
    packages_of("node")
    program = (node(), examples / "node" / "predict.mjs")
    rows = [row for row in site.rows if row["batch"] == "0"]
    guard, *lines = run(*program, site.model, *(site.pictures / row["path"] for row in rows)).splitlines()
    assert guard == f"guard: {rows[0]['decision']}"
    assert lines == [
        f"{number}: source {row['source_label']} ({line.split('(')[1].split(')')[0]}), "
        f"adapted {row['label']} ({float(row['confidence']):.4f})"
        for number, (row, line) in enumerate(zip(rows, lines, strict=True))
    ]


def test_node_reads_names_that_json_escapes(
    examples: Path, batch: tuple[Path, dict[str, np.ndarray]], strangers: Path
) -> None:
    packages_of("node")
    _, *lines = run(node(), examples / "node" / "predict.mjs", strangers / "odd.onnx", batch[0]).splitlines()
    said = [line.partition(": source ")[2].rpartition(" (")[0].partition(" (")[0] for line in lines]
    assert said == labels_of(batch[1]["source_logits"], ODD)


@pytest.mark.parametrize(("kind", "who"), [("adaptive", "adapted"), ("source", "source")])
def test_node_shows_one_answer_where_the_file_has_one(
    examples: Path, batch: tuple[Path, dict[str, np.ndarray]], strangers: Path, kind: str, who: str
) -> None:
    packages_of("node")
    lines = run(node(), examples / "node" / "predict.mjs", strangers / f"{kind}.onnx", batch[0]).splitlines()
    labels = labels_of(batch[1]["logits"])
    assert [line.partition(" (")[0] for line in lines] == [f"{n}: {who} {label}" for n, label in enumerate(labels)]


@pytest.mark.parametrize(
    ("model", "file", "told"),
    [
        ("site.onnx", "out.csv", "out.csv holds 1"),
        ("site.onnx", "no.png", "no.png is no PNG picture: "),
        ("out.csv", "out.csv", "out.csv is no ONNX file, or damaged. Give one that gformer export wrote."),
        ("other.onnx", "out.csv", "other.onnx is an ONNX file without gformer's metadata."),
        ("bytes.onnx", "out.csv", "bytes.onnx takes uint8 images, not float32. Export it without --with-preproc"),
        ("rough.onnx", "no.png", "no.png cannot be prepared: the model resizes without smoothing (antialias: false)"),
    ],
)
def test_node_says_what_it_cannot_take(
    site: Site, examples: Path, strangers: Path, model: str, file: str, told: str
) -> None:
    packages_of("node")
    words = [node(), str(examples / "node" / "predict.mjs"), str(strangers / model), str(strangers / file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"predict.mjs: {strangers}/{told}")


def test_the_program_in_cpp_says_what_python_says(
    site: Site, batch: tuple[Path, dict[str, np.ndarray]], strangers: Path, tmp_path: Path
) -> None:
    libraries = packages_of("node") / "onnxruntime-node" / "bin" / "napi-v6" / "linux"
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, "")
    library = libraries / machine / "libonnxruntime.so.1"
    if not library.is_file():
        pytest.skip(f"no onnxruntime for {os.uname().machine} in onnxruntime-node")
    if not (HEADERS / "onnxruntime_cxx_api.h").is_file():
        pytest.skip("GFORMER_ONNXRUNTIME_HEADERS names no folder with onnxruntime_cxx_api.h; .ci/run looks for them")
    if not shutil.which("cmake") or not shutil.which("c++"):
        pytest.skip("no cmake and compiler of C++ here")
    given = (f"-DONNXRUNTIME_INCLUDE={HEADERS}", f"-DONNXRUNTIME_LIBRARY={library}")
    run("cmake", "-S", EXAMPLES / "cpp", "-B", tmp_path, "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror", *given)
    run("cmake", "--build", tmp_path)
    path, outputs = batch
    guard, *lines = run(tmp_path / "predict", site.model, path).splitlines()
    assert guard == f"guard: {('generated', 'blended', 'source')[int(outputs['decision'])]}"
    said = [line.replace(",", "").split() for line in lines]
    assert [words[2] for words in said] == labels_of(outputs["source_logits"])
    assert [words[5] for words in said] == labels_of(outputs["logits"])
    probabilities = torch.from_numpy(outputs["logits"]).softmax(1).amax(1).numpy()
    assert np.allclose([float(words[6].strip("()")) for words in said], probabilities, rtol=0.0, atol=1e-4)
    _, *lines = run(tmp_path / "predict", strangers / "odd.onnx", path).splitlines()
    said_odd = [line.partition(": source ")[2].partition(" (")[0] for line in lines]
    assert said_odd == labels_of(outputs["source_logits"], ODD)
    for kind, who in (("adaptive", "adapted"), ("source", "source")):
        _, who_said, label, _ = run(tmp_path / "predict", strangers / f"{kind}.onnx", path).splitlines()[0].split()
        assert (who_said, label) == (who, labels_of(outputs["logits"])[0])
    for words, told in [
        ([strangers / "other.onnx", path], "has no classes: give a file that gformer export wrote"),
        ([strangers / "bytes.onnx", path], "takes no float32: export it without --with-preprocessing"),
        ([site.model, strangers / "out.csv"], "holds no whole images of 768 float32 each"),
    ]:
        done = subprocess.run([tmp_path / "predict", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and told in done.stderr
