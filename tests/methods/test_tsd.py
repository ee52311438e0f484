"""`tsd` against an independent version, and what each setting does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.methods.base import Parts
from gformer_cli.methods.tsd import TSD

Plain = Callable[[], nn.Module]


def _entropy(logits: torch.Tensor) -> float:
    p = logits.softmax(dim=0)
    return float(-(p * p.log()).sum())


@pytest.mark.parametrize("supports", [2, 100])
def test_its_steps_by_hand(parts: Parts, batches: list[torch.Tensor], plain: Plain, supports: int) -> None:
    network = plain().train()
    head = network.fc
    assert isinstance(head, nn.Linear)
    rows = head.weight.detach()
    memory = [[(_entropy(head(row).detach()), row / row.norm())] for row in rows]
    network.fc = nn.Identity()
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=1e-3)
    method = TSD(parts.backbone, learning_rate=1e-3, supports=supports)
    for batch in batches:
        features = network(batch)
        logits = torch.nn.functional.linear(features, head.weight, head.bias)
        torch.testing.assert_close(method.predict(batch), logits.detach())
        for z, row in zip(features.detach(), logits.detach(), strict=True):
            memory[int(row.argmax())].append((_entropy(row), z / z.norm()))
        memory = [sorted(entries, key=lambda entry: entry[0])[:supports] for entries in memory]
        prototypes = torch.stack([sum(z for _, z in entries) for entries in memory])
        scaled = features / features.abs().sum(dim=1, keepdim=True)
        t = (scaled @ (prototypes / prototypes.abs().sum(dim=1, keepdim=True)).T).softmax(dim=1)
        s = logits.detach().softmax(dim=1).softmax(dim=1)
        optimizer.zero_grad()
        (t * (t.log() - s.log())).sum(dim=1).mean().backward()
        optimizer.step()


@pytest.mark.parametrize("setting", [{"learning_rate": 1e-3}, {"supports": 1}], ids=lambda value: next(iter(value)))
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    usual, changed = TSD(parts.backbone), TSD(parts.backbone, **setting)
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
