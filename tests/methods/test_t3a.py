"""`t3a` against its rule written out image by image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods.base import Parts
from gformer_cli.methods.features import logits_and_features
from gformer_cli.methods.t3a import T3A

Plain = Callable[[], nn.Module]


def _entropy(logits: torch.Tensor) -> float:
    p = logits.softmax(dim=0)
    return float(-(p * p.log()).sum())


@torch.no_grad()
def _by_hand(network: nn.Module, batches: list[torch.Tensor], m: int) -> list[torch.Tensor]:
    """Supports in one list per class, as (entropy, unit vector)."""
    assert isinstance(network.fc, nn.Linear)
    weight, bias = network.fc.weight, network.fc.bias
    supports = [[(_entropy(weight @ row + bias), row / row.norm())] for row in weight]
    network.fc = nn.Identity()
    results = []
    for batch in batches:
        features = network.eval()(batch)
        for z in features:
            logits = weight @ z + bias
            supports[int(logits.argmax())].append((_entropy(logits), z / z.norm()))
        supports = [sorted(entries, key=lambda entry: entry[0])[:m] for entries in supports]
        sums = [sum(vector for _, vector in entries) for entries in supports]
        centroids = torch.stack([total / total.norm() for total in sums])
        results.append(torch.stack([centroids @ z for z in features]))
    return results


@pytest.mark.parametrize("supports", [1, 2, 3, 100])
def test_it_is_the_rule_by_hand(parts: Parts, batches: list[torch.Tensor], plain: Plain, supports: int) -> None:
    method = T3A(parts.backbone, supports=supports)
    for batch, wanted in zip(batches, _by_hand(plain(), batches, supports), strict=True):
        torch.testing.assert_close(method.predict(batch), wanted)


def test_the_number_of_supports_has_an_effect(parts: Parts, batches: list[torch.Tensor]) -> None:
    few, many = T3A(parts.backbone, supports=1), T3A(parts.backbone)
    assert not torch.equal(few.predict(batches[0]), many.predict(batches[0]))


def test_supports_stay_within_their_number_per_class(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = T3A(parts.backbone, supports=2)
    for batch in batches * 4:
        method.predict(batch)
        kept = method.supports
        counts = kept.labels.bincount(minlength=4)
        assert counts.max() <= 2 and counts.min() >= 1
        assert len(kept.features) == len(kept.labels) == len(kept.entropies) == counts.sum()


def test_reset_forgets_the_supports(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = T3A(parts.backbone)
    first = method.predict(batches[0])
    assert not torch.equal(method.predict(batches[0]), first)
    method.reset()
    assert torch.equal(method.predict(batches[0]), first)


def test_features_come_with_exactly_the_source_models_logits(parts: Parts, batches: list[torch.Tensor]) -> None:
    logits, features = logits_and_features(parts.backbone, batches[0])
    assert torch.equal(logits, parts.backbone(batches[0]))
    assert torch.equal(parts.backbone.classifier(features), logits)
    assert not parts.backbone.classifier._forward_pre_hooks
