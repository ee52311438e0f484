"""What a bundle whose numbers overflow predicts."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.adapt import OVERFLOW, Predictor, adapt, write_rows
from gformer_cli.audit.writer import AuditLog
from gformer_cli.bundle import Bundle, TemperaturesHeader
from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain
from gformer_cli.guard.prediction import predict_both
from gformer_cli.guard.rule import SOURCE, Verdict
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


def test_each_answer_has_the_temperature_of_what_predicted_it(
    bundle: Bundle, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = TemperaturesHeader(source=2.0, adapted=8.0, images=9)
    bundle.header = bundle.header.model_copy(update={"temperatures": said})
    images = bundle.preprocessing.network_input(batch.pixels, CPU)
    for verdict, temperature in ((Verdict(), 8.0), (Verdict("blended", 0.5), 4.0), (Verdict(SOURCE, 0.0), 2.0)):
        monkeypatch.setattr(type(bundle.guard), "decide", lambda *_, verdict=verdict: verdict)
        logits = predict_both(bundle.backbone, bundle.model, images).under(verdict)[0]
        outcome = Predictor(bundle, CPU, bundle.guard).predict(batch, "yard")
        torch.testing.assert_close(outcome.probabilities, (logits / temperature).softmax(dim=1))
        assert outcome.source_probabilities.equal((bundle.backbone(images) / 2.0).softmax(dim=1))
        heard = Predictor(bundle, CPU, bundle.guard, obeyed=False).predict(batch, "yard")
        generated = bundle.model(bundle.backbone, images).logits / 8.0
        assert heard.probabilities.equal(generated.softmax(dim=1))


def test_no_temperature_changes_a_label_not_even_by_rounding(
    bundle: Bundle, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearly = torch.tensor([0.0, 1e-6]).expand(len(batch.files), 2)
    monkeypatch.setattr(type(bundle.model), "forward", lambda _, backbone, images, context: _answering(nearly))
    bundle.set_temperature(100.0)
    outcome = Predictor(bundle, CPU).predict(batch, "yard")
    assert outcome.probabilities.argmax(dim=1).tolist() == [0] * len(nearly)  # equal to the last bit
    assert {row.label for row in outcome.rows(["dark", "light"])} == {"light"}


def _answering(logits: torch.Tensor) -> Any:
    return Prediction(logits, None, None, source=logits)  # type: ignore[arg-type]


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
