from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gformer_cli.guard.rule import Score
from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts


def test_it_predicts_with_what_the_guard_decides(parts: Parts, batches: list[torch.Tensor]) -> None:
    rule = parts.guard
    assert rule is not None
    images = batches[0]
    generated = parts.model(parts.backbone, images)
    half = parts.backbone.source_parameters().towards(generated.parameters, 0.5)
    for constant, expected in (
        (0.0, generated.logits),
        (0.5, parts.backbone(images, half)),
        (1.0, parts.backbone(images)),
    ):
        own = replace(parts, guard=replace(rule, strangeness=Score({}, constant, 0.0, 1.0)))
        assert torch.equal(METHODS["gformer-guard"].from_parts(own).predict(images), expected)


def test_it_needs_a_guard(parts: Parts) -> None:
    with pytest.raises(ValueError, match="no guard"):
        METHODS["gformer-guard"].from_parts(replace(parts, guard=None))
