from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gformer_cli.adapt import Outcome, ParameterFolder, adapt
from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain
from gformer_cli.guard.rule import Verdict

CPU = torch.device("cpu")
HASH = "a" * 64


@pytest.fixture
def run(bundle: Bundle, domains: list[Domain]) -> Callable[..., list[Outcome]]:
    """Nine batches into the sinks; returns their outcomes."""

    def call(*sinks: Any, chosen: slice = slice(None)) -> list[Outcome]:
        found: list[Outcome] = []
        adapt(
            bundle,
            domains[chosen],
            batch_size=4,
            order="name",
            seed=0,
            device=CPU,
            workers=0,
            sinks=[*sinks, found.append],
        )
        return found

    return call


Run = Callable[..., list[Outcome]]


def test_sinks_get_each_outcome_in_turn_before_the_next_batch(run: Run) -> None:
    seen: list[tuple[str, int]] = []
    found = run(
        lambda outcome: seen.append(("first", outcome.number)), lambda outcome: seen.append(("second", outcome.number))
    )
    assert seen == [(name, number) for number in range(9) for name in ("first", "second")]
    assert [outcome.number for outcome in found] == list(range(9))


def test_each_batch_has_a_file_and_names_sort_by_number(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    run(ParameterFolder(tmp_path / "new" / "sets", bundle, HASH).begin())
    names = sorted(path.name for path in (tmp_path / "new" / "sets").iterdir())
    assert names == [f"batch-{number:06d}.safetensors" for number in range(9)]


def test_the_file_alone_gives_the_same_predictions(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    outcome = run(ParameterFolder(tmp_path, bundle, HASH).begin())[5]
    tensors = load_file(tmp_path / "batch-000005.safetensors")
    images = bundle.preprocessing.network_input(outcome.batch.pixels, CPU)
    logits = bundle.backbone(images, bundle.backbone.parameters_from(tensors))
    heat = bundle.temperatures.adapted
    assert torch.equal((logits / heat).softmax(1), outcome.probabilities)
    assert not torch.equal((bundle.backbone(images) / heat).softmax(1), outcome.probabilities)


def test_tensors_have_the_names_of_layers_and_metadata_tells_the_origin(
    run: Run, bundle: Bundle, tmp_path: Path
) -> None:
    outcome = run(ParameterFolder(tmp_path, bundle, HASH).begin())[8]
    parts = {f"{name}.{part}" for name in bundle.backbone.layer_names for part in ("weight", "bias", "mix")}
    head = bundle.backbone.classifier_name
    with safe_open(tmp_path / "batch-000008.safetensors", framework="pt") as file:
        assert set(file.keys()) == parts | {f"{head}.weight", f"{head}.bias"}
        about = json.loads(file.metadata()["gformer"])
    expected = {"bundle": HASH, "batch": 8, "target": outcome.target, "decision": "generated", "share": 1.0}
    assert about == expected


def test_what_predicted_is_kept_not_what_was_generated(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    outcome = run(chosen=slice(1))[0]
    generated = outcome.prediction.parameters
    used = replace(generated.with_mix(None), weight=generated.weight + 1.0)
    ParameterFolder(tmp_path, bundle, HASH)(replace(outcome, parameters=used, verdict=Verdict("source", 0.0)))
    tensors = load_file(tmp_path / "batch-000000.safetensors")
    first, head = bundle.backbone.layer_names[0], bundle.backbone.classifier_name
    assert torch.equal(tensors[f"{first}.weight"], used.gammas[0]) and float(tensors[f"{first}.mix"]) == 0.0
    assert torch.equal(tensors[f"{head}.weight"], used.weight)


def test_the_same_run_writes_the_same_bytes(run: Run, bundle: Bundle, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(ParameterFolder(tmp_path / name, bundle, HASH).begin(), chosen=slice(1))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_folder_that_is_not_empty_is_refused_and_overwritten_only_in_its_sets(
    run: Run, bundle: Bundle, tmp_path: Path
) -> None:
    run(ParameterFolder(tmp_path, bundle, HASH).begin())
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        ParameterFolder(tmp_path, bundle, HASH)
    folder = ParameterFolder(tmp_path, bundle, HASH, overwrite=True)
    assert len(list(tmp_path.iterdir())) == 10
    run(folder.begin(), chosen=slice(1))
    assert len(list(tmp_path.glob("batch-*"))) == 9  # until all are there
    folder.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(f"batch-00000{number}.safetensors" for number in range(3)),
        "mine.txt",
    ]


def test_a_file_in_its_place_is_told(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "sets").write_text("mine")
    with pytest.raises(InputError, match="is a file, not a folder"):
        ParameterFolder(tmp_path / "sets", bundle, HASH, overwrite=True)
