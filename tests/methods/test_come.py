"""`come`: its loss by hand, and its steps."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods.base import Parts
from gformer_cli.methods.come import Come, opinion_entropies

Plain = Callable[[], nn.Module]


def test_the_entropy_of_an_opinion_by_hand() -> None:
    logits = torch.tensor([[math.log(3.0), math.log(1.0)], [0.0, 0.0]], dtype=torch.float64)
    beliefs = [[3 / 6, 1 / 6, 2 / 6], [1 / 4, 1 / 4, 2 / 4]]  # the last is the uncertainty
    wanted = [-sum(p * math.log(p) for p in row) for row in beliefs]
    assert opinion_entropies(logits).tolist() == pytest.approx(wanted)


def test_nothing_is_gained_by_longer_logits() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(opinion_entropies(logits).sum(), logits)
    assert gradient.isfinite().all()
    assert (gradient[0] @ logits[0]).abs() < 1e-12 and gradient[0].abs().max() > 0.01


def test_large_logits_give_no_overflow() -> None:
    assert opinion_entropies(torch.tensor([[500.0, 0.0]])).isfinite().all()


def test_its_steps_by_hand(parts: Parts, batches: list[torch.Tensor], plain: Plain) -> None:
    network = plain().train()
    affine = [p for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in (m.weight, m.bias)]
    optimizer = torch.optim.SGD(affine, lr=0.01, momentum=0.9)
    method = Come(parts.backbone, learning_rate=0.01)
    for batch in batches:
        logits = network(batch)
        torch.testing.assert_close(method.predict(batch), logits.detach())
        held = logits / logits.norm(dim=1, keepdim=True) * logits.detach().norm(dim=1, keepdim=True)
        mass = held.exp().sum(dim=1, keepdim=True) + 4
        opinion = torch.cat([held.exp() / mass, 4 / mass], dim=1)
        optimizer.zero_grad()
        (-(opinion * opinion.log()).sum(dim=1).mean()).backward()
        optimizer.step()


@pytest.mark.parametrize("setting", [{"learning_rate": 1e-2}, {"momentum": 0.0}], ids=lambda value: next(iter(value)))
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    usual, changed = Come(parts.backbone), Come(parts.backbone, **setting)
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
