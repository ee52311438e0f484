"""`tent-episodic` against Adam by hand, from the source for each batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts
from gformer_cli.methods.tent_episodic import EpisodicTent

Plain = Callable[[], nn.Module]


@pytest.mark.parametrize("steps", [1, 3])
def test_each_batch_is_adapted_from_the_source_and_predicted_after_the_steps(
    parts: Parts, batches: list[torch.Tensor], plain: Plain, steps: int
) -> None:
    method = EpisodicTent(parts.backbone, steps=steps)
    for batch in batches:
        network = plain().train()
        affine = [p for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in (m.weight, m.bias)]
        optimizer = torch.optim.Adam(affine, lr=1e-3, betas=(0.9, 0.999))
        for _ in range(steps):
            probabilities = network(batch).softmax(dim=1)
            optimizer.zero_grad()
            (-(probabilities * probabilities.log()).sum(dim=1).mean()).backward()
            optimizer.step()
        torch.testing.assert_close(method.predict(batch), network(batch).detach())


def test_it_has_no_state(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = EpisodicTent(parts.backbone)
    first = method.predict(batches[0])
    method.predict(batches[1])
    assert torch.equal(method.predict(batches[0]), first)


@pytest.mark.parametrize("setting", [{"learning_rate": 1e-2}, {"steps": 2}, {"steps": 0}])
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    usual = EpisodicTent(parts.backbone).predict(batches[0])
    changed = EpisodicTent(parts.backbone, **setting).predict(batches[0])  # type: ignore[arg-type]
    assert not torch.allclose(changed, usual, rtol=0, atol=1e-6)


def test_without_steps_it_is_bn(parts: Parts, batches: list[torch.Tensor]) -> None:
    assert torch.equal(
        EpisodicTent(parts.backbone, steps=0).predict(batches[0]), METHODS["bn"].from_parts(parts).predict(batches[0])
    )
