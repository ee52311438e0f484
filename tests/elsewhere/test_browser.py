"""An exported file in a browser, by the page of the examples: the answers of Python's onnxruntime."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gformer_cli.images.decoding import decode_to
from tests.elsewhere.conftest import BATCH, ODD, Site, packages_of
from tests.fixtures.browser import chromium

pytestmark = pytest.mark.slow

AXE = Path(os.environ.get("GFORMER_AXE", ""))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    packages_of("browser")
    with chromium() as driven:
        yield driven


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's standard error."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a web server of that folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def address(examples: Path) -> Iterator[str]:
    with serving(examples / "browser") as served:
        yield served


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


@pytest.mark.parametrize(("kind", "shown"), [("adaptive", ["adapted"]), ("source", ["source"])])
def test_the_page_shows_one_answer_where_the_file_has_one(
    page: Any, site: Site, strangers: Path, kind: str, shown: list[str]
) -> None:
    give(page, "model", strangers / f"{kind}.onnx")
    give(page, "folder", site.pictures)
    wait_for(page, "status", "18 pictures in 1 batch, 0 changed")
    assert {term.text for term in page.find_elements("css selector", ".picture dt")} == set(shown)
    cells = [cell.text for cell in page.find_elements("css selector", "#counts tbody tr:first-child td")]
    assert [cell == "-" for cell in cells] == [kind == "adaptive", kind == "source"]


def test_what_is_dropped_on_the_page_is_taken(page: Any, site: Site, strangers: Path) -> None:
    """The model and a folder in a folder at once; names of classes are text."""
    dropped = {"items": [], "files": [str(strangers / "odd.onnx"), str(site.pictures)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, "x": 9, "y": 9, "data": dropped})
    assert wait_for(page, "status", "changed by").startswith("18 pictures in 1 batch, ")
    shown = page.execute_script(SHOWN)
    assert {one["path"].split("/")[1] for one in shown} == {"circle", "square", "stripes"}
    assert {one["label"] for one in shown} == set(ODD)


DECODED = """const [address, reading, done] = arguments;
(async () => {
  const { decode } = await import('/decode.js');
  const { width, height, data } = await decode(await (await fetch(address)).blob(), { reading });
  done([width, height, [...data]]);
})();"""


@pytest.mark.parametrize(
    ("name", "reading"), [("turned.jpg", "upright"), ("turned.jpg", "plain"), ("clear.png", "upright")]
)
def test_the_page_reads_pictures_as_gformer_does(page: Any, examples: Path, name: str, reading: str) -> None:
    path = examples / "browser" / name
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (12, 20, 4), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    image.convert("RGB" if name == "turned.jpg" else "RGBA").save(path, exif=turned)
    width, height, data = page.execute_async_script(DECODED, name, reading)
    pixels = np.array(data).reshape(height, width, 4)[..., :3]
    wanted = decode_to(path.read_bytes(), lambda decoded: np.asarray(decoded).astype(int), plain=reading == "plain")
    assert pixels.shape == wanted.shape == ((20, 12, 3) if reading == "upright" else (12, 20, 3))
    assert np.abs(pixels - wanted).max() <= 1


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
        ("rough.onnx", "rough.onnx resizes without smoothing (antialias: false), which this example does not do"),
    ],
)
def test_the_page_says_what_is_no_model(page: Any, strangers: Path, model: str, told: str) -> None:
    give(page, "model", strangers / model)
    assert wait_for(page, "problem", model) == told
    give(page, "model", strangers / "site.onnx")
    assert wait_for(page, "status", "choose") == "Now choose pictures."
    assert not page.find_element("id", "problem").is_displayed()


def test_the_page_says_what_it_lacks(browser: Any, examples: Path, tmp_path: Path) -> None:
    shutil.copytree(examples / "browser", tmp_path / "bare", ignore=shutil.ignore_patterns("node_modules"))
    with serving(tmp_path / "bare") as address:
        browser.get(f"{address}/index.html")
        told = "onnxruntime-web is not here. Run npm install in the folder of this page."
        assert wait_for(browser, "problem", "npm") == told
    browser.get((examples / "browser" / "index.html").as_uri())
    assert wait_for(browser, "status", "Not").startswith("Not ready: this page needs a web server.")
    browser.get_log("browser")  # it is the browser that complains of files here


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
