"""Models whose classes are in another order than that of sorted folders, and folders that are called otherwise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from gformer_cli.app import run
from gformer_cli.bundle import read_header
from gformer_cli.bundle.integrity import stamped

Gformer = Callable[..., Any]
ORDER = [2, 0, 1]
"""Of the outputs: stripes, circle, square."""


@pytest.fixture(scope="session")
def models(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A bundle whose generator is far from its beginning, and the same one with its classes in another order."""
    header, tensors = read_header(bundle), load_file(bundle)
    random = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if name.startswith("generator.") and tensor.is_floating_point():
            tensor.add_(torch.randn(tensor.shape, generator=random), alpha=0.3)
    paths = [tmp_path_factory.mktemp("models") / f"{name}.gformer" for name in ("sorted", "unsorted")]
    paths[0].write_bytes(stamped(header, tensors))
    for name in ("backbone.fc.weight", "backbone.fc.bias"):
        tensors[name] = tensors[name][ORDER].contiguous()
    header = header.model_copy(update={"classes": [header.classes[index] for index in ORDER]})
    paths[1].write_bytes(stamped(header, tensors))
    return paths


@pytest.fixture(scope="session")
def results(models: list[Path], data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """results.json of both, on targets of which one lacks a class."""
    root = tmp_path_factory.mktemp("both")
    targets = Path(shutil.copytree(data / "targets", root / "targets"))
    shutil.rmtree(targets / "fog" / "circle")
    methods = "source,bn,tent,eata,t3a,lame,constant,gformer,gformer-guard"
    how = ["--methods", methods, "--streams", "label-shift,forgetting", "--batch-size", "8", "--examine"]
    for model in models:
        images = ["--target", str(targets), "--source", str(data / "sources" / "noon")]
        assert run(["evaluate", "--model", str(model), *images, *how, "--out", str(root / model.stem)]) == 0
    return [root / model.stem / "results.json" for model in models]


def cells(path: Path) -> dict[tuple[str, ...], Any]:
    document = json.loads(path.read_text())
    return {(cell["method"], cell["stream"], cell["target"]): cell for cell in document["cells"]}


@pytest.mark.slow
def test_the_order_of_classes_changes_no_figure(results: list[Path]) -> None:
    before, now = (cells(path) for path in results)
    assert set(before) == set(now)
    assert before["gformer", "label-shift", "night"]["nll"] != before["bn", "label-shift", "night"]["nll"]
    for key, cell in before.items():
        assert now[key]["batch_correct"] == cell["batch_correct"], key
        for figure in ("balanced_accuracy", "macro_f1", "nll", "ece", "brier"):
            assert now[key][figure] == pytest.approx(cell[figure], rel=1e-3, abs=1e-4), (key, figure)


def test_a_target_that_lacks_a_class_is_measured_on_what_it_has(results: list[Path]) -> None:
    counts = {target: cell["n"] for (_, stream, target), cell in cells(results[1]).items() if stream == "label-shift"}
    assert counts == {"fog": 20, "night": 30}
    cell = cells(results[1])["source", "label-shift", "fog"]
    # the mean of the recall of two classes, of ten images each
    assert cell["balanced_accuracy"] == pytest.approx(cell["accuracy"])


def test_a_page_names_the_same_classes_in_any_order(results: list[Path], gformer: Gformer, tmp_path: Path) -> None:
    names = ("path", "label", "before", "after")
    shown = []
    for path in results:
        pictures = [cell["details"]["pictures"] for key, cell in cells(path).items() if key[0] == "gformer"]
        shown.append([[picture[name] for name in names] for part in pictures for picture in part])
    assert shown[0] == shown[1] and shown[0]
    assert gformer("report", results[1], "--out", tmp_path / "page.html").status == 0
    assert shown[1][0][0] in (tmp_path / "page.html").read_text()


def test_predictions_name_the_same_classes_in_any_order(
    gformer: Gformer, models: list[Path], data: Path, tmp_path: Path, read_csv: Any
) -> None:
    rows = []
    for model in models:
        out, page = tmp_path / f"{model.stem}.csv", tmp_path / f"{model.stem}.html"
        options = ["--guard", "off", "--probabilities", "--report", page]
        assert gformer("adapt", "--model", model, "--target", data / "targets", "--out", out, *options).status == 0
        rows.append(read_csv(out))
    assert [name for name in rows[1][0] if ":" in name] == [f"probability:{n}" for n in ("stripes", "circle", "square")]
    for before, now in zip(*rows, strict=True):
        assert (now["path"], now["source_label"]) == (before["path"], before["source_label"])
        shares = {name: float(value) for name, value in now.items() if ":" in name}
        assert shares == pytest.approx({name: float(before[name]) for name in shares}, abs=1e-3)
        assert max(shares, key=lambda name: shares[name]) == f"probability:{now['label']}"


def test_a_log_of_any_order_is_replayed(gformer: Gformer, models: list[Path], data: Path, tmp_path: Path) -> None:
    log, out, target = tmp_path / "audit.jsonl", tmp_path / "p.csv", data / "targets"
    assert gformer("adapt", "--model", models[1], "--target", target, "--out", out, "--audit", log).status == 0
    assert gformer("audit", "--replay", log, "--model", models[1], "--target", target, "--json").json["same"] is True


MAP = {"n01": "square", "n02": "circle", "n03": "stripes"}


@pytest.fixture
def mapped(bundle: Path, tmp_path: Path) -> Path:
    """A bundle that knows folders by other names than their classes."""
    path = tmp_path / "mapped.gformer"
    path.write_bytes(stamped(read_header(bundle).model_copy(update={"class_map": MAP}), load_file(bundle)))
    return path


@pytest.fixture
def site(own_data: Path) -> Path:
    """One target whose class folders the map names, and hold sessions."""
    fog = own_data / "targets" / "fog"
    for folder, label in MAP.items():
        (fog / folder).mkdir()
        (fog / label).rename(fog / folder / "day-1")
    return fog


def counts(done: Any) -> Any:
    assert done.status == 0, done.err
    return done.json["domains"]


def test_the_map_of_a_bundle_holds_in_every_command(
    gformer: Gformer, bundle: Path, mapped: Path, site: Path, tmp_path: Path
) -> None:
    expected = {"fog": dict.fromkeys(("circle", "square", "stripes"), 10)}
    for command in (["adapt", "--out", tmp_path / "p.csv"], ["freeze"], ["evaluate"]):
        plan = [*command, "--target", site, "--dry-run", "--json"]
        assert counts(gformer(*plan, "--model", mapped)) == expected
        unknown = gformer(*plan, "--model", bundle)
        assert unknown.status == 2 or set(unknown.json["domains"]) == set(MAP)


def test_a_static_bundle_keeps_the_map(gformer: Gformer, mapped: Path, site: Path, tmp_path: Path) -> None:
    out = tmp_path / "static.gformer"
    assert gformer("freeze", "--model", mapped, "--target", site, "--out", out, "--limit", 8).status == 0
    assert read_header(out).class_map == MAP


def test_a_class_map_adds_to_that_of_the_bundle_and_wins(
    gformer: Gformer, mapped: Path, site: Path, tmp_path: Path
) -> None:
    (tmp_path / "map.csv").write_text("n04,circle\nn01,circle")
    (site / "n03").rename(site / "n04")
    done = gformer(
        *("evaluate", "--model", mapped, "--target", site, "--class-map", tmp_path / "map.csv"), "--dry-run", "--json"
    )
    assert counts(done) == {"fog": {"circle": 30}}


def test_watch_and_replay_take_mapped_folders_for_no_target(
    gformer: Gformer, bundle: Path, mapped: Path, site: Path, tmp_path: Path, read_csv: Any
) -> None:
    def watch(model: Path, *options: object) -> Any:
        out = tmp_path / f"{model.stem}.csv"
        how = ("--out", out, "--settle", 0, "--until-idle", 0, "--audit", out.with_suffix(".jsonl"), *options)
        return gformer("watch", site, "--model", model, *how, "--json")

    assert watch(mapped, "--dry-run").json["present"] == {".": 30}
    assert watch(bundle, "--dry-run").json["present"] == dict.fromkeys(MAP, 10)
    assert watch(mapped).status == 0
    assert {row["target"] for row in read_csv(tmp_path / "mapped.csv")} == {"."}
    replay = gformer("audit", "--replay", tmp_path / "mapped.jsonl", "--model", mapped, "--target", site, "--json")
    assert replay.json["same"] is True
