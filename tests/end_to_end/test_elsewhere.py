"""An exported file in a browser, in Node.js and in C++, by the examples: the answers of Python's onnxruntime."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Preprocessing, to_pixels
from gformer_cli.settings import DataSettings

pytestmark = pytest.mark.slow

onnx: Any = pytest.importorskip("onnx")
onnxruntime: Any = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
INSTALLED = Path(os.environ.get("GFORMER_NODE_MODULES", EXAMPLES))
"""Where browser/node_modules and node/node_modules lie."""
HEADERS = Path(os.environ.get("GFORMER_ONNXRUNTIME_HEADERS", "/usr/include/onnxruntime"))
AXE = Path(os.environ.get("GFORMER_AXE", ""))
BATCH = 8


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
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


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, beside what npm installed for them."""
    copy = tmp_path_factory.mktemp("examples")
    for example in ("browser", "node"):
        shutil.copytree(EXAMPLES / example, copy / example, ignore=shutil.ignore_patterns("node_modules"))
        (copy / example / "node_modules").symlink_to(INSTALLED / example / "node_modules")
    return copy


@pytest.fixture(scope="module")
def batch(site: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """Five images as a file of float32, and what onnxruntime in Python says of them."""
    images = np.random.default_rng(0).normal(size=(5, 3, 16, 16)).astype(np.float32)
    path = tmp_path_factory.mktemp("batch") / "images.f32"
    images.tofile(path)
    session = onnxruntime.InferenceSession(str(site.model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return path, dict(zip(names, session.run(None, {"images": images}), strict=True))


def labels_of(logits: np.ndarray) -> list[str]:
    return [("circle", "square", "stripes")[index] for index in logits.argmax(1)]


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


@pytest.mark.parametrize(
    ("model", "file", "told"),
    [
        ("site.onnx", "out.csv", "out.csv holds 1"),
        ("site.onnx", "no.png", "no.png is no PNG picture: "),
        ("out.csv", "out.csv", "out.csv is no ONNX file, or damaged. Give one that gformer export wrote."),
        ("other.onnx", "out.csv", "other.onnx is an ONNX file without gformer's metadata."),
        ("bytes.onnx", "out.csv", "bytes.onnx takes uint8 images, not float32. Export it without --with-preproc"),
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


@pytest.fixture(scope="module")
def strangers(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are not what they should be, beside a model that is."""
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
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    packages_of("browser")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no chromium and chromedriver here; .ci/run installs them")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driven = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield driven
    driven.quit()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's standard error."""


@pytest.fixture(scope="module")
def address(examples: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(examples / "browser"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(browser: Any, address: str) -> Any:
    """The page as it opens on a phone."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(f"{address}/index.html")
    return browser


def give(page: Any, name: str, path: Path) -> None:
    page.find_element("id", name).send_keys(str(path))


def wait_for(page: Any, element: str, words: str) -> str:
    """The text of an element once it has these words in it."""
    wait = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
    wait(page, 120).until(lambda it: words in it.find_element("id", element).text)
    text: str = page.find_element("id", element).text
    return text


SHOWN = """return [...document.querySelectorAll('.batch')].flatMap((batch, number) =>
  [...batch.querySelectorAll('.picture')].map(one => ({
    batch: String(number),
    decision: batch.dataset.decision,
    path: one.querySelector('.name').title,
    source_label: one.querySelector('.source').textContent,
    label: one.querySelector('.adapted').textContent,
    confidence: one.querySelectorAll('.percent')[1].textContent,
    changed: one.classList.contains('changed'),
    seen: one.offsetHeight > 0 && one.querySelector('img').naturalWidth > 0,
  })))"""


def test_the_page_predicts_as_gformer_does(page: Any, site: Site, address: str) -> None:
    page.find_element("id", "size").clear()
    give(page, "size", Path(str(BATCH)))
    page.find_element("css selector", "#order [value=name]").click()
    give(page, "folder", site.pictures)
    assert wait_for(page, "status", "choose") == "Now choose a model."
    give(page, "model", site.model)
    told = wait_for(page, "status", "changed by adapting")
    changed = [f"pictures/{row['path']}" for row in site.rows if row["label"] != row["source_label"]]
    assert told.startswith(f"18 pictures in 3 batches, {len(changed)} changed by adapting.")
    shown = page.execute_script(SHOWN)
    assert all(one["seen"] for one in shown)
    assert [one["path"] for one in shown if one["changed"]] == changed
    assert [
        (one["path"], one["batch"], one["decision"], one["source_label"], one["label"], one["confidence"])
        for one in shown
    ] == [
        (
            f"pictures/{row['path']}",
            row["batch"],
            row["decision"],
            row["source_label"],
            row["label"],
            f"{100 * float(row['confidence']):.1f}%",
        )
        for row in site.rows
    ]
    page.find_element("id", "only").click()
    assert [one["path"] for one in page.execute_script(SHOWN) if one["seen"]] == changed
    asked = page.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
    assert len(asked) > 5 and all(name.startswith((address, "blob:", "data:")) for name in asked)
    assert page.execute_script("return document.documentElement.scrollWidth") == 390
    assert page.get_log("browser") == []
    page.find_element("css selector", "#order [value=shuffle]").click()
    wait_for(page, "status", "18 pictures in 3 batches")
    mixed = [one["path"] for one in page.execute_script(SHOWN)]
    assert sorted(mixed) == [one["path"] for one in shown] != mixed


def test_axe_finds_nothing_serious_on_the_page(page: Any, site: Site, strangers: Path) -> None:
    if not AXE.is_file():
        pytest.skip("GFORMER_AXE names no axe.min.js; .ci/run installs axe-core and sets it")
    give(page, "model", site.model)
    pictures = sorted(str(path) for path in site.pictures.glob("*/*.png"))
    page.find_element("id", "pictures").send_keys("\n".join([*pictures, str(strangers / "no.png")]))
    wait_for(page, "status", "changed by adapting")
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        page.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE.read_text(encoding="utf-8")})
        found = page.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
        assert len(found["passes"]) > 10
        serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
        assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in serious] == []


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("out.csv", "out.csv is no ONNX file, or damaged. Give one that gformer export wrote."),
        ("other.onnx", "other.onnx is an ONNX file without gformer's metadata. Give one that gformer export wrote."),
        ("bytes.onnx", "bytes.onnx takes uint8 images, not float32. Export it without --with-preprocessing."),
    ],
)
def test_the_page_says_what_is_no_model(page: Any, strangers: Path, model: str, told: str) -> None:
    give(page, "model", strangers / model)
    assert wait_for(page, "problem", model) == told
    give(page, "model", strangers / "site.onnx")
    assert wait_for(page, "status", "choose") == "Now choose pictures."
    assert not page.find_element("id", "problem").is_displayed()


def test_the_page_says_what_is_no_picture(page: Any, strangers: Path, site: Site) -> None:
    give(page, "model", site.model)
    give(page, "pictures", strangers / "no.png")
    assert wait_for(page, "problem", "None") == "None of these files is a picture that this browser reads."
    one = next(iter(site.pictures.glob("*/*.png")))
    page.find_element("id", "pictures").clear()
    page.find_element("id", "pictures").send_keys(f"{strangers / 'no.png'}\n{one}")
    assert wait_for(page, "status", "changed").startswith("1 picture in 1 batch, ")
    skipped = page.find_element("id", "skipped")
    assert skipped.text == "Left out, no pictures that this browser reads: 1"
    skipped.find_element("tag name", "summary").click()
    assert skipped.text.endswith("no.png")


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
    for words, told in [
        ([strangers / "other.onnx", path], "has no classes: give a file that gformer export wrote"),
        ([strangers / "bytes.onnx", path], "takes no float32: export it without --with-preprocessing"),
        ([site.model, strangers / "out.csv"], "holds no whole images of 768 float32 each"),
    ]:
        done = subprocess.run([tmp_path / "predict", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and told in done.stderr
