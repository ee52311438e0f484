from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gformer_cli.bundle import Bundle, GuardHeader
from gformer_cli.guard.rule import Guard, Score
from gformer_cli.methods import METHODS


def guarded(bundle: Bundle, rule: Guard) -> Bundle:
    header = bundle.header.model_copy(update={"guard": GuardHeader(rule=rule, figures={})})
    return replace(bundle, header=header)


def test_it_predicts_with_what_the_guard_decides(bundle: Bundle, batches: list[torch.Tensor]) -> None:
    rule = bundle.guard
    assert rule is not None
    images = batches[0]
    generated = bundle.method(bundle.backbone, images)
    half = bundle.backbone.source_parameters().towards(generated.parameters, 0.5)
    for constant, expected in (
        (0.0, generated.logits),
        (0.5, bundle.backbone(images, half)),
        (1.0, bundle.backbone(images)),
    ):
        own = guarded(bundle, replace(rule, strangeness=Score({}, constant, 0.0, 1.0)))
        assert torch.equal(METHODS["gformer-guard"](own).predict(images), expected)


def test_it_needs_a_bundle_with_a_guard(bundle: Bundle) -> None:
    bundle.header = bundle.header.model_copy(update={"guard": None})
    with pytest.raises(ValueError, match="no guard"):
        METHODS["gformer-guard"](bundle)
