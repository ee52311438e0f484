"""`deyo` against its equations written out, its view by hand, and what each setting does."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.methods.base import Parts
from gformer_cli.methods.deyo import Deyo, shuffled_patches

Plain = Callable[[], nn.Module]


def test_squares_are_moved_whole_and_each_image_has_its_own_order() -> None:
    images = torch.arange(16.0).view(1, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3).expand(3, 3, 8, 8)
    found = shuffled_patches(images, 4, torch.Generator().manual_seed(0))
    assert found.shape == images.shape
    squares = found.unfold(2, 2, 2).unfold(3, 2, 2)  # (3, 3, 4, 4, 2, 2)
    assert torch.equal(squares.amin(dim=(4, 5)), squares.amax(dim=(4, 5)))  # 2 x 2 squares of one value
    orders = squares[..., 0, 0].flatten(2)  # (3, 3, 16)
    assert torch.equal(orders.sort(dim=2).values, torch.arange(16.0).expand(3, 3, 16))
    assert torch.equal(orders[:, 0], orders[:, 2]) and not torch.equal(orders[0], orders[1])  # channels stay together


def test_a_side_that_four_does_not_divide_comes_back() -> None:
    image = torch.rand(1, 3, 10, 10, dtype=torch.float64)
    found = shuffled_patches(image, 4, torch.Generator().manual_seed(0))
    assert found.shape == image.shape and found.dtype == image.dtype
    assert found.mean().item() == pytest.approx(image.mean().item(), abs=0.05)


def test_its_steps_by_hand(confident: Parts, batches: list[torch.Tensor], plain: Plain) -> None:
    network = plain().train()
    layers = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)][:15]  # of 20: a quarter stays
    optimizer = torch.optim.SGD([p for m in layers for p in (m.weight, m.bias)], lr=0.01, momentum=0.9)
    method = Deyo(confident.backbone, learning_rate=0.01, difference=0.1)
    generator = torch.Generator().manual_seed(0)
    counts = []
    for batch in batches * 2:
        logits = network(batch)
        torch.testing.assert_close(method.predict(batch), logits.detach())
        p = logits.softmax(dim=1)
        entropy = -(p * p.log()).sum(dim=1)
        sure = [row for row in range(6) if entropy[row] < 0.5 * math.log(4)]
        if not sure:
            continue
        with torch.no_grad():
            cut = network(shuffled_patches(batch[sure], 4, generator)).softmax(dim=1)
        terms = []
        for row, other in zip(sure, cut, strict=True):
            label = int(p[row].argmax())
            lost = p[row, label].item() - other[label].item()
            if lost > 0.1:
                factor = math.exp(0.4 * math.log(4) - entropy[row].item()) + math.exp(lost)
                terms.append(factor * entropy[row])
        counts.append((len(sure), len(terms)))
        if terms:
            optimizer.zero_grad()
            (sum(terms) / len(terms)).backward()
            optimizer.step()
    assert sum(taken > 0 for _, taken in counts) >= 2  # the test has seen steps,
    assert any(taken < seen for seen, taken in counts)  # and images left out


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 1e-2},
        {"momentum": 0.0},
        {"max_entropy": 0.05},
        {"entropy_margin": 0.9},
        {"difference": 0.5},
        {"seed": 1},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(confident: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    usual, changed = (Deyo(confident.backbone, **{"difference": 0.0, **more}) for more in ({}, setting))
    one, two = (torch.stack([method.predict(batch) for batch in batches * 2]) for method in (usual, changed))
    assert not torch.equal(one, two)
