"""`tast` against an independent version, projection by projection, and what each setting does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gformer_cli.methods.base import Parts
from gformer_cli.methods.features import logits_and_features
from gformer_cli.methods.tast import Projections, Tast


def test_projections_share_a_matrix() -> None:
    features = torch.randn(5, 8, dtype=torch.float64)
    made = Projections(features, count=3, size=2, seed=0)
    assert made(features).shape == (3, 5, 2)
    with torch.no_grad():
        made.offset.normal_()
    for head in range(3):
        wanted = [made.after[head] * (made.matrix @ (made.before[head] * x)) + made.offset[head] for x in features]
        torch.testing.assert_close(made(features)[head], torch.stack(wanted))
    wide = Projections(torch.empty(1, 400), count=50, size=100, seed=0)
    assert wide.matrix.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert wide.before.std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert wide.after.std().item() == pytest.approx((2 / 100) ** 0.5, rel=0.04)
    assert not wide.offset.any()


def _prototype_logits(values: torch.Tensor, supports: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """10 times the cosine of (B, H) to the mean of each class's supports (N, H)."""
    rows = []
    for k in range(4):
        mean = torch.stack([z for z, label in zip(supports, labels, strict=True) if label == k]).mean(dim=0)
        rows.append(mean / mean.norm())
    return 10 * (values / values.norm(dim=1, keepdim=True)) @ torch.stack(rows).T


@pytest.mark.parametrize("steps", [1, 3])
def test_it_is_the_rule_by_hand(parts: Parts, batches: list[torch.Tensor], steps: int) -> None:
    method = Tast(parts.backbone, heads=3, neighbours=2, steps=steps, learning_rate=0.01)
    weight, bias = parts.backbone.classifier.weight, parts.backbone.classifier.bias
    memory, labels = list(weight.detach()), [0, 1, 2, 3]
    heads = Projections(weight, 3, weight.shape[1] // 4, seed=0)
    optimizer = torch.optim.Adam(heads.tensors, lr=0.01)
    for batch in batches:
        found = method.predict(batch)
        _, features = logits_and_features(parts.backbone, batch)
        memory += list(features.detach())
        labels += (features @ weight.T + bias).argmax(dim=1).tolist()
        supports = torch.stack(memory)
        near = []
        for z in features:
            cosine = [float(z @ other / (z.norm() * other.norm())) for other in memory]
            near.append(sorted(range(len(memory)), key=lambda row: -cosine[row])[:2])
        for _ in range(steps):
            loss, prediction = 0.0, 0.0
            for head in range(3):
                among = _prototype_logits(heads(supports)[head], heads(supports)[head], labels).detach()
                wanted = torch.stack([torch.eye(4).double()[among[rows].argmax(dim=1)].mean(dim=0) for rows in near])
                prediction = prediction + torch.stack([among[rows].softmax(dim=1).mean(dim=0) for rows in near]) / 3
                seen = _prototype_logits(heads(features)[head], heads(supports)[head], labels).log_softmax(dim=1)
                loss = loss + (torch.xlogy(wanted, wanted) - wanted * seen).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.testing.assert_close(found.exp(), prediction)


@pytest.mark.parametrize(
    "setting",
    [
        {"heads": 2},
        {"supports": 1},
        {"neighbours": 1},
        {"steps": 3},
        {"learning_rate": 0.1},
        {"seed": 1},
    ],
    ids=lambda value: next(iter(value)),
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    usual, changed = Tast(parts.backbone), Tast(parts.backbone, **setting)
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
