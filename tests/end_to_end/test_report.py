"""A report of a real run, looked at in a real browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.browser import chromium

pytestmark = pytest.mark.slow

pytest.importorskip("selenium.webdriver")
WebDriverWait: Any = pytest.importorskip("selenium.webdriver.support.ui").WebDriverWait
pytest.importorskip("mlxtend")
pytest.importorskip("sklearn")
AXE = os.environ.get("GFORMER_AXE", "")
HOSTILE = "<script>alert('x')</script> \"מצלמה\""
SECTIONS = {
    *("verdict", "targets", "harm", "streams", "cost", "calibration", "inside", "changes", "pictures", "guard", "made")
}


def gformer(*arguments: object) -> None:
    command = [sys.executable, "-m", "gformer_cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of each kind, from a run on digits; one target has a name that nobody should give."""
    root = tmp_path_factory.mktemp("report")
    data, run, results = root / "data", root / "run", root / "results"
    gformer("data", "demo", "digit-cameras", "--out", data)
    targets = data / "targets"
    (targets / "fog").rename(targets / HOSTILE.replace("/", "∕"))  # a name cannot hold a slash
    gformer("pretrain", "--source", data / "sources", "--out", run, "--preset", "quick", "--steps", "60")
    quick = ["--steps", "20", "--set", "meta_train.validate_every=10", "--set", "meta_train.guard_batches=2"]
    gformer("meta-train", "--source", data / "sources", "--run", run, "--start", "none", *quick)
    common = ["--model", run / "model.gformer", "--target", targets]
    gformer(
        "adapt", *common, "--out", root / "out.csv", "--audit", root / "audit.jsonl", "--report", root / "adapt.html"
    )
    streams = ["--streams", "stationary,batch-sizes,label-shift", "--limit", "32"]
    gformer("evaluate", *common, *streams, "--batch-size", "8", "--out", results, "--examine")
    found = results / "results.json"
    gformer("report", found, "--audit", root / "audit.jsonl", "-o", root / "evaluate.html")
    gformer("compare", found, found, "--report", root / "compare.html")
    return {name: root / f"{name}.html" for name in ("evaluate", "adapt", "compare")}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not Path(AXE).is_file():
        pytest.skip("GFORMER_AXE names no axe.min.js; .ci/run installs axe-core and sets it")
    with chromium() as driven:
        driven.set_script_timeout(300)
        yield driven


def show(browser: Any, page: Path, *, width: int = 1440, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(page.as_uri())
    # on a busy machine get() comes back now and then from a page that is read to its half
    WebDriverWait(browser, 300).until(lambda it: it.execute_script("return document.readyState") == "complete")


@pytest.mark.parametrize("name", ["evaluate", "adapt", "compare"])
@pytest.mark.parametrize("width", [390, 1440])
def test_a_page_fits_and_says_nothing_on_the_console(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    show(browser, pages[name], width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width
    assert browser.get_log("browser") == []
    assert pages[name].stat().st_size < 5_000_000


@pytest.mark.parametrize("name", ["evaluate", "adapt", "compare"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, pages: dict[str, Path], name: str, scheme: str) -> None:
    show(browser, pages[name], width=390, scheme=scheme)
    browser.execute_script(Path(AXE).read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert len(found["passes"]) > 10
    serious = [v for v in found["violations"] if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [node["html"] for node in v["nodes"]]) for v in serious] == []


def test_every_section_is_there_and_a_hostile_name_is_text(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["evaluate"])
    seen = browser.execute_script(
        "return [...document.querySelectorAll('section')].filter(s => s.innerText).map(s => s.id)"
    )
    assert set(seen) == SECTIONS
    assert HOSTILE.replace("/", "∕") in browser.execute_script(
        "return document.querySelector('#targets thead').innerText"
    )
    assert browser.execute_script("return document.scripts.length") == 1


def test_a_click_on_a_column_sorts_by_it_and_another_turns_it_round(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["evaluate"])
    column = "[...document.querySelectorAll('#targets tbody tr')].map(row => Number(row.cells[{}].dataset.value))"
    head = browser.execute_script("return document.querySelectorAll('#targets th[scope=col]')")[1]
    press = head.find_element("tag name", "button")
    press.click()
    down = browser.execute_script(f"return {column.format(1)}")
    assert head.get_attribute("aria-sort") == "descending" and down == sorted(down, reverse=True)
    press.send_keys("\ue007")  # Enter, so that a keyboard can do it
    assert browser.execute_script(f"return {column.format(1)}") == down[::-1]
    assert head.get_attribute("aria-sort") == "ascending"
    results = json.loads((pages["evaluate"].parent / "results" / "results.json").read_text())
    stationary = [s for s in results["summaries"] if s["stream"] == "stationary"]
    assert sorted(down) == sorted(next(iter(s["targets"].values())) for s in stationary)
