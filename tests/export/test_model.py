"""An exported file predicts as its bundle does, through the same folders, logs and commands."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from gformer_cli.adapt import AdaptResult, adapt
from gformer_cli.app import run
from gformer_cli.audit.sinks import plan_sinks
from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError
from gformer_cli.export.model import GraphModel
from gformer_cli.export.samples import made_images
from gformer_cli.export.write import export
from gformer_cli.folders.domains import Domain
from tests.export.conftest import Made

CPU = torch.device("cpu")


@pytest.fixture
def graph(made: Made) -> GraphModel:
    return GraphModel(made.path, threads=1)


def adapted(model: Bundle | GraphModel, domains: Sequence[Domain], *, guarded: bool, obeyed: bool) -> AdaptResult:
    """With batches of one image as well: those are below the guard's smallest."""
    how = {"batch_size": 3, "order": "shuffle", "seed": 1, "device": CPU, "workers": 0}
    return adapt(model, domains, guard=model.guard if guarded else None, obeyed=obeyed, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(("guarded", "obeyed"), [(True, True), (True, False), (False, True)], ids=["on", "warn", "off"])
def test_folders_are_predicted_as_by_the_bundle(
    made: Made, graph: GraphModel, domains: list[Domain], guarded: bool, obeyed: bool
) -> None:
    wanted = adapted(made.bundle, domains, guarded=guarded, obeyed=obeyed)
    found = adapted(graph, domains, guarded=guarded, obeyed=obeyed)
    assert found.decisions == wanted.decisions and len(found.rows) == len(wanted.rows) == 30
    assert not guarded or found.decisions["source"] >= 3
    assert [(number, verdict.reasons) for number, _, verdict in found.flagged] == [
        (number, verdict.reasons) for number, _, verdict in wanted.flagged
    ]
    for one, other in zip(found.rows, wanted.rows, strict=True):
        assert (one.path, one.label, one.source_label, one.decision, one.batch) == (
            *(other.path, other.label, other.source_label, other.decision, other.batch),
        )
        assert one.confidence == pytest.approx(other.confidence, abs=1e-5)


def test_a_log_tells_the_same_of_both_and_is_replayed(
    made: Made, domains: list[Domain], tmp_path: Path, capsys: pytest.CaptureFixture[str], _bundle_file: Path
) -> None:
    folder, log = str(domains[0].files[0].path.parents[2]), tmp_path / "a.jsonl"
    out = tmp_path / "p.csv"
    assert run(["adapt", "--model", str(made.path), "--target", folder, "--out", str(out), "--audit", str(log)]) == 0
    with out.open() as file:
        assert len(list(csv.DictReader(file))) == 30
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    kept = plan_sinks(
        made.bundle,
        _bundle_file,
        CPU,
        {},
        audit=tmp_path / "b.jsonl",
        append=False,
        parameters=None,
        overwrite=False,
        continued=False,
        others=[],
    )
    with kept.open() as sinks:
        how = {"batch_size": 64, "order": "shuffle", "seed": 0, "device": CPU, "workers": 0}
        adapt(made.bundle, domains, guard=made.bundle.guard, sinks=sinks, **how)  # type: ignore[arg-type]
    wanted = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    for one, other in zip(lines, wanted, strict=True):
        assert (one["decision"], one["reasons"], one["threads"]) == (other["decision"], other["reasons"], 1)
        assert [layer.pop("name") for layer in one["layers"]] == [layer.pop("name") for layer in other["layers"]]
        assert one["layers"] == [pytest.approx(layer, abs=1e-5) for layer in other["layers"]]
        assert one["signals"] == pytest.approx(other["signals"], rel=1e-3, abs=1e-4)
        assert {*one["settings"]["versions"]} - {*other["settings"]["versions"]} == {"onnxruntime"}
    capsys.readouterr()
    assert run(["audit", str(log), "--replay", "--model", str(made.path), "--target", folder]) == 0
    assert "all of them to the last bit" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "options", "what"),
    [
        ("adapt", ["--device", "cuda"], "--device cuda has no effect"),
        ("adapt", ["--precision", "bfloat16"], "--precision bfloat16 has no effect"),
        ("adapt", ["--backbone", "net.py:make"], "--backbone has no effect"),
        ("adapt", ["--guard-limit", "strangeness=3"], "its guard decides in the graph"),
        ("adapt", ["--save-parameters", "sets"], "--save-parameters has no effect"),
        ("adapt", ["--context", "2"], "--context has no effect"),
        ("watch", ["--context", "2"], "--context has no effect"),
        ("serve", ["--port", "0", "--context", "2"], "--context has no effect"),
    ],
)
def test_what_a_graph_cannot_do_is_refused(
    made: Made,
    domains: list[Domain],
    command: str,
    options: list[str],
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = str(domains[0].files[0].path.parents[1])
    target = {"watch": [folder, "--until-idle", "0"], "serve": []}.get(command, ["--target", folder])
    assert run([command, *target, "--model", str(made.path), *options]) == 2
    assert what in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_watched_folder_and_a_white_level_go_with_it(
    made: Made, domains: list[Domain], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = str(domains[0].files[0].path.parents[1]), tmp_path / "p.csv"
    options = ["--model", str(made.path), "--out", str(out), "--until-idle", "0", "--settle", "0", "--json"]
    assert run(["watch", folder, *options]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 10 and len(out.read_text().splitlines()) == 11
    assert GraphModel(made.path, threads=1, white_level=4095.0).depth.stated == 4095.0


def test_a_file_that_does_not_adapt_is_refused(made: Made, _bundle_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.onnx"
    export(_bundle_file, made.bundle, out, "source", made_images(made.bundle, 1))
    with pytest.raises(InputError, match="holds the source model alone"):
        GraphModel(out, threads=1)


def test_memory_is_checked_as_for_the_bundle(graph: GraphModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gformer_cli.bundle.described.free_memory", lambda device: 10)
    graph.image_bytes = 4
    graph.check_memory(2, CPU)
    with pytest.raises(InputError, match="Use --batch-size 2 or less"):
        graph.check_memory(3, CPU)
