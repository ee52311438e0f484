"""Methods of other packages: the example, as pip installs it, and packages that are broken."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError
from gformer_cli.evaluate import plan
from gformer_cli.methods import METHODS, UNLOADED
from gformer_cli.methods.base import Parts
from gformer_cli.methods.installed import installed_methods

EXAMPLE = Path(__file__).parents[2] / "examples" / "method"


def _install(folder: Path, package: str, **methods: str) -> None:
    """As pip would leave it: metadata that names entry points."""
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    points = "\n".join(f"{name.replace('_', '-')} = {value}" for name, value in methods.items())
    (info / "entry_points.txt").write_text(f"[gformer.methods]\n{points}\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that Python looks into."""
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return tmp_path


def test_the_example_is_found_and_corrects_by_shares(
    site: Path, parts: Parts, batches: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.delitem(sys.modules, "gformer_em_prior", raising=False)
    _install(site, "gformer-em-prior", em_prior="gformer_em_prior:EMPrior")
    found, lost = installed_methods(METHODS)
    assert list(found) == ["em-prior"] and lost == {}
    source = parts.backbone(batches[0]).softmax(dim=1)
    wanted = source
    for _ in range(2):
        wanted = source * wanted.mean(dim=0)
        wanted = wanted / wanted.sum(dim=1, keepdim=True)
    method = found["em-prior"].from_parts(parts, steps=2)
    torch.testing.assert_close(method.predict(batches[0]).exp(), wanted)
    assert found["em-prior"].tunable["steps"] == (1, 10, 100)


def test_a_broken_package_breaks_no_other(site: Path) -> None:
    (site / "raises.py").write_text("raise RuntimeError('no such device')\n")
    (site / "stranger.py").write_text("class Thing: pass\n")
    _install(site, "one", crashes="raises:Method", gone="nowhere_at_all:Method", tent="raises:Tent")
    _install(site, "two", thing="stranger:Thing")
    found, lost = installed_methods(METHODS)
    assert found == {}
    assert lost["tent of one"] == "There is another method of that name"
    assert "no subclass of gformer_cli.methods.Method" in lost["thing"]
    assert "one cannot be loaded: ModuleNotFoundError: No module named 'nowhere_at_all'" in lost["gone"]
    assert lost["crashes"] == "one cannot be loaded: RuntimeError: no such device"


def test_a_method_that_cannot_be_loaded_is_told_and_left_out_of_all(
    shallow_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(UNLOADED, "lost", "thing cannot be loaded: no such device")
    known, impossible = [*METHODS, *UNLOADED], plan.impossible_methods(shallow_bundle)
    with pytest.raises(InputError, match="'lost' cannot be measured here") as error:
        plan.choose(["lost"], known, "method", impossible)
    assert "no such device" in error.value.hint
    assert "lost" not in plan.choose(["all"], known, "method", impossible)


@pytest.mark.slow
def test_pip_installs_the_example(tmp_path: Path) -> None:
    site = tmp_path / "site"
    copied = tmp_path / "method"  # pip builds in the folder
    copied.mkdir()
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (copied / file.name).write_bytes(file.read_bytes())
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(copied)], check=True)
    code = "from gformer_cli.methods import METHODS; print([*METHODS][-1], METHODS['em-prior'].__name__)"
    paths = os.pathsep.join([str(site), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": paths}
    )
    assert done.stdout.split() == ["em-prior", "EMPrior"]
