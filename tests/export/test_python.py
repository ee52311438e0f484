"""An exported file from Python and over HTTP: the answers of its bundle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

import gformer_cli as gformer
from gformer_cli.adapt import answer
from gformer_cli.adapt.answering import probabilities_of
from gformer_cli.export.model import GraphModel
from gformer_cli.folders.domains import Domain
from gformer_cli.guard.rule import DECISIONS
from gformer_cli.serve.app import create_app
from gformer_cli.serve.options import ServeOptions
from gformer_cli.serve.service import Service
from tests.export.conftest import Made

CPU = torch.device("cpu")


def test_it_predicts_as_the_bundle_does(made: Made) -> None:
    loaded = {mode: gformer.load(made.path, guard=mode) for mode in ("on", "warn", "off")}
    for decision in DECISIONS:
        images = made.batches[decision]
        for mode, model in loaded.items():
            rule = None if mode == "off" else made.bundle.guard
            wanted, found = answer(made.bundle, images, rule, obeyed=mode == "on"), model.predict(images)
            said = probabilities_of(wanted, made.bundle.temperatures)
            assert torch.allclose(found.probabilities, said.adapted, atol=1e-5)
            assert torch.allclose(found.source_probabilities, said.source, atol=1e-5)
            assert (found.decision, found.reasons) == (wanted.verdict.decision, wanted.verdict.reasons)
            assert found.share == pytest.approx(wanted.verdict.share, abs=1e-4) and found.parameters == {}


def test_threads_share_it_and_it_streams_files(made: Made, domains: list[Domain]) -> None:
    model, files = gformer.load(made.path), [file.path for file in domains[0].files]
    wanted = model.predict(files[:4]).probabilities
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: model.predict(files[:4]).probabilities, range(8)))
    assert all(torch.equal(one, wanted) for one in found)
    assert [len(result) for result in model.stream(files, batch_size=4)] == [4, 4, 2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"device": "cuda"}, "device cuda has no effect"),
        ({"precision": "bfloat16"}, "precision bfloat16 has no effect"),
        ({"guard_limits": {"strangeness": 3.0}}, "guard_limits have no effect"),
        ({"backbone": "net.py:make"}, "has no effect"),
    ],
)
def test_options_that_cannot_take_effect_are_refused(made: Made, options: dict[str, Any], told: str) -> None:
    with pytest.raises(gformer.InputError, match=told):
        gformer.load(made.path, **options)


def test_a_white_level_takes_effect(made: Made, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "deep.png")
    dark, white = (gformer.load(made.path, white_level=level).preprocessing for level in (None, 4095.0))
    assert bool((white(tmp_path / "deep.png") > dark(tmp_path / "deep.png")).all())


def test_what_the_file_does_not_show_is_told(made: Made, tmp_path: Path) -> None:
    model = gformer.load(made.path)
    with pytest.raises(gformer.InputError, match="shows neither its network"):
        model.module  # noqa: B018
    with pytest.raises(gformer.InputError, match="shows neither its network"):
        model.source_parameters  # noqa: B018
    with pytest.raises(gformer.InputError, match="context has no effect"):
        model.stream([], context=2)
    with pytest.raises(gformer.InputError, match="no such ONNX file"):
        gformer.load(tmp_path / "none.onnx")


def test_it_is_served(made: Made, domains: list[Domain]) -> None:
    graph = GraphModel(made.path, threads=1)
    sent = [("images", (file.path.name, file.path.read_bytes())) for file in domains[0].files[:3]]
    with TestClient(create_app(Service(graph, CPU, ServeOptions(), guard=graph.guard))) as client:
        rows = client.post("/predict", files=sent).json()["predictions"]
        drift = float(client.get("/metrics").text.split("\ngformer_drift ")[1].split()[0])
    result = gformer.load(made.path).predict([file.path for file in domains[0].files[:3]])
    assert [row["label"] for row in rows] == result.labels
    assert [row["confidence"] for row in rows] == [round(value, 6) for value in result.confidence.tolist()]
    assert drift > 0.0
