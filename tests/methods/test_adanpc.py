"""`adanpc` against its rule written out image by image, and what each setting does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gformer_cli.methods.adanpc import AdaNPC
from gformer_cli.methods.base import Parts
from gformer_cli.methods.features import logits_and_features


@pytest.mark.parametrize("prepared", [True, False])
def test_it_is_the_rule_by_hand(parts: Parts, batches: list[torch.Tensor], prepared: bool) -> None:
    source = list(torch.rand(2, 5, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    method = AdaNPC(parts.backbone, neighbours=3, temperature=0.2, confidence=0.5)
    memory = [(row / row.norm(), label) for label, row in enumerate(parts.backbone.classifier.weight.detach())]
    if prepared:
        method.prepare(source)
        memory = []
        for images in source:
            logits, features = logits_and_features(parts.backbone, images)
            memory += [(z / z.norm(), int(row.argmax())) for z, row in zip(features, logits, strict=True)]
    joined = 0
    for batch in batches:
        _, features = logits_and_features(parts.backbone, batch)
        scores, new = [], []
        for z in features:
            unit = z / z.norm()
            near = sorted(((float(unit @ other), label) for other, label in memory), reverse=True)[:3]
            total = sum(math.exp(cosine / 0.2) for cosine, _ in near)
            score = [1e-5 + sum(math.exp(c / 0.2) / total for c, own in near if own == label) for label in range(4)]
            scores.append([math.log(value) for value in score])
            if max(score) >= 0.5:
                new.append((unit, score.index(max(score))))
        torch.testing.assert_close(method.predict(batch), torch.tensor(scores, dtype=torch.float64))
        memory += new
        joined += len(new)
        assert len(method.memory) == len(method.labels) == len(memory)
    assert 0 < joined <= 18


def test_what_it_learned_of_the_source_outlasts_a_reset(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = AdaNPC(parts.backbone)
    bare = method.predict(batches[0])
    method.prepare(batches[1:])
    first = method.predict(batches[0])
    assert not torch.equal(first, bare)
    method.reset()
    assert torch.equal(method.predict(batches[0]), first)
    method.prepare([])  # which says nothing
    method.reset()
    assert torch.equal(method.predict(batches[0]), first)


@pytest.mark.parametrize(
    "setting", [{"neighbours": 2}, {"temperature": 0.01}, {"confidence": 1.1}], ids=lambda value: next(iter(value))
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    usual, changed = AdaNPC(parts.backbone), AdaNPC(parts.backbone, **setting)
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
