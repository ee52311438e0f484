"""What a bundle whose numbers overflow predicts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gformer_cli.adapt import OVERFLOW, Predictor, adapt, write_rows
from gformer_cli.audit.writer import AuditLog
from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain
from gformer_cli.guard.rule import SOURCE
from gformer_cli.images.preprocessing import Batch, read_batches

CPU = torch.device("cpu")


@pytest.fixture
def batch(bundle: Bundle, domains: list[Domain]) -> Batch:
    (batch, *_) = read_batches(domains[0].files, bundle.preprocessing, batch_size=4, workers=0, skipped=[])
    return batch


@pytest.fixture
def huge(bundle: Bundle) -> Bundle:
    """A bundle whose generator is finite and gives numbers that are not."""
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            parameter.fill_(1e30)
    return bundle


@pytest.mark.parametrize("guard", ["none", "on", "warn"])
def test_where_generated_parameters_overflow_the_source_model_answers(huge: Bundle, batch: Batch, guard: str) -> None:
    rule = None if guard == "none" else huge.guard
    outcome = Predictor(huge, CPU, rule, obeyed=guard == "on").predict(batch, "yard")
    assert outcome.probabilities.equal(outcome.source_probabilities) and outcome.probabilities.isfinite().all()
    assert (outcome.verdict.decision, outcome.verdict.share) == (SOURCE, 0.0)
    if guard != "on":  # a guard that is obeyed has decided so before, for reasons of its own
        assert outcome.verdict.reasons[0] == OVERFLOW
    assert all(math.isfinite(row.confidence) and row.decision == SOURCE for row in outcome.rows(["dark", "light"]))


def test_all_that_is_written_of_it_is_json(huge: Bundle, domains: list[Domain], tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", huge, "a" * 64, {})
    with log:
        done = adapt(huge, domains, batch_size=4, order="name", seed=0, device=CPU, workers=0, sinks=[log])
    write_rows(tmp_path / "p.jsonl", done.rows, ["dark", "light"], probabilities=True, name_targets=True)
    assert len(done.flagged) == done.batches

    def refuse(name: str) -> None:
        raise AssertionError(name)

    for name in ("audit.jsonl", "p.jsonl"):
        for line in (tmp_path / name).read_text().splitlines():
            json.loads(line, parse_constant=refuse)


def test_a_context_forgets_a_batch_that_overflows(
    bundle: Bundle, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(bundle, CPU, context=4)
    with monkeypatch.context() as patch, torch.no_grad():
        patch.setattr(type(bundle.model), "forward", _overflowing(type(bundle.model).forward))
        assert OVERFLOW in predictor.predict(batch, "yard").verdict.reasons
    assert predictor.predict(batch, "yard").probabilities.equal(
        Predictor(bundle, CPU, context=4).predict(batch, "yard").probabilities
    )


def _overflowing(forward: object) -> object:
    def call(*arguments: object) -> object:
        prediction = forward(*arguments)  # type: ignore[operator]
        return replace(prediction, logits=prediction.logits * math.nan)

    return call


def test_a_source_model_without_numbers_is_an_error_that_names_the_bundle(bundle: Bundle, batch: Batch) -> None:
    with torch.no_grad():
        for parameter in bundle.backbone.network.parameters():
            parameter.fill_(1e30)
    with pytest.raises(InputError, match=f"bundle {bundle.path} gives no finite numbers for images of yard"):
        Predictor(bundle, CPU).predict(batch, "yard")
    with pytest.raises(InputError, match="Without --precision bfloat16"):
        Predictor(bundle, CPU, precision="bfloat16").predict(batch, "yard")
