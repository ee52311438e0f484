"""The wheel alone, installed away from the clone: the quick demo, and each command once on what it made."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest
import typer

from gformer_cli import __version__
from gformer_cli.app import app

pytestmark = pytest.mark.slow

pytest.importorskip("mlxtend")
pytest.importorskip("sklearn")
ROOT = Path(__file__).parents[2]
MODEL = "--model demo/run/model.gformer"
SMALL = "--steps 2 --set meta_train.validate_every=1 --set meta_train.guard_batches=1 --set meta_train.constant=false"
CALLS: dict[str, list[str]] = {
    "import": ["import --run demo/run --generator none --overwrite"],
    "pretrain": ["pretrain --source demo/data/sources --run own --preset quick --steps 2 --no-leave-one-out"],
    "meta-train": [
        "pretrain --source demo/data/sources --run taught --preset quick --steps 2 --no-leave-one-out",
        f"meta-train --source demo/data/sources --run taught {SMALL}",
    ],
    "adapt": [f"adapt {MODEL} --target demo/data/targets/fog --out adapted.csv"],
    "watch": [f"watch demo/data/targets/fog {MODEL} --out watched.csv --until-idle 1"],
    "audit": [
        f"adapt {MODEL} --target demo/data/targets/fog --out audited.csv --audit audit.jsonl",
        f"audit --replay audit.jsonl {MODEL} --target demo/data/targets/fog",
    ],
    "evaluate": [f"evaluate {MODEL} --target demo/data/targets/fog --limit 64"],
    "merge": [
        f"evaluate {MODEL} --target demo/data/targets --limit 32 --methods source --shard 1/2 --out shard-1",
        f"evaluate {MODEL} --target demo/data/targets --limit 32 --methods source --shard 2/2 --out shard-2",
        "merge shard-1 shard-2 --out merged",
    ],
    "report": ["report demo/results/results.json --out drawn.html"],
    "compare": ["compare demo/results/results.json demo/results/results.json --report compared.html"],
    "freeze": [f"freeze {MODEL} --target demo/data/targets/fog --out frozen.gformer"],
    "export": [f"export {MODEL} --out demo.onnx"],
    "data": ["data check demo/data/targets/fog"],
    "presets": ["presets list", "presets show quick", "presets copy quick mine.yaml"],
    "inspect": ["inspect demo/run/model.gformer --verify", "inspect universal"],
    "diff": ["diff demo/run/model.gformer demo/run/model.gformer --exit-code"],
    "runs": ["runs demo/run"],
    "launch": [
        "launch --standalone --nproc-per-node 2 "
        f"adapt {MODEL} --target demo/data/targets/fog --out launched.csv --threads 1"
    ],
    "doctor": ["doctor"],
    "demo": ["demo --out other --dry-run"],
}
"""Per command the calls that try it; that of `serve` has a test of its own."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an environment in `env` that has the wheel and this environment's packages, but not the clone."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", symlinks=True)
    packages = next((folder / "env").glob("lib/python*/site-packages"))
    # a folder that is named so is searched, and its own .pth files, such as that of the clone, are not read
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = folder / "env" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--ignore-installed",
    ]
    subprocess.run([*pip, str(wheel)], check=True)
    return folder


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def gformer(folder: Path, line: str) -> str:
    """Run a command of the installed gformer in `folder` and return its stdout."""
    command = [str(folder / "env" / "bin" / "gformer"), *shlex.split(line)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment())
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def demo(elsewhere: Path) -> Path:
    """The folder, with what the quick demo makes in `demo`."""
    gformer(elsewhere, "demo --quick --out demo")
    return elsewhere


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "gformer_cli", "presets"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert held == {name if name.startswith("gformer_cli/") else f"gformer_cli/{name}" for name in tracked}


def test_nothing_comes_from_the_clone(elsewhere: Path) -> None:
    code = "import gformer_cli; print(gformer_cli.__file__)"
    python = str(elsewhere / "env" / "bin" / "python")
    found = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, cwd=elsewhere, env=environment()
    )
    assert Path(found.stdout.strip()).is_relative_to(elsewhere / "env")
    assert gformer(elsewhere, "--version") == f"gformer {__version__}\n"


def test_the_quick_demo_ends_at_a_page_and_tells_what_adapting_gained(demo: Path) -> None:
    page = (demo / "demo" / "report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and "scanner" in page and page.rstrip().endswith("</html>")
    found = json.loads((demo / "demo" / "results" / "results.json").read_text())
    averages = {(one["method"], one["stream"]): one["accuracy"] for one in found["summaries"]}
    # measured: 47 % against 89 %
    assert all(averages["gformer", kind] > averages["source", kind] + 0.2 for kind in ("stationary", "label-shift"))


def test_every_command_is_tried() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) == {*CALLS, "serve"}


@pytest.mark.parametrize("command", CALLS)
def test_commands_work(demo: Path, command: str) -> None:
    for line in CALLS[command]:
        gformer(demo, line)


def test_serve_answers(demo: Path) -> None:
    command = [str(demo / "env" / "bin" / "gformer"), "serve", *shlex.split(MODEL), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=demo, env=environment()) as process:
        assert process.stderr is not None
        said = next(line for line in process.stderr if line.startswith("Serving "))
        url = said.split()[-1].removesuffix("/predict")
        try:
            with urllib.request.urlopen(f"{url}/healthz", timeout=60) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
