"""`delta` against its equations written out, its layer by hand, and what each setting does."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.base import Parts
from gformer_cli.methods.delta import Delta, Renormalising
from gformer_cli.methods.normalisation import renormalised
from gformer_cli.networks.norms import AdaptiveBatchNorm2d


def test_it_normalises_by_moving_statistics_with_the_gradient_of_the_batchs() -> None:
    norm = Renormalising(AdaptiveBatchNorm2d(1, eps=0.0).double(), momentum=0.75)
    first = torch.tensor([[[0.0, 2.0]]], dtype=torch.float64)
    assert norm.normalised(first).tolist() == [[[-1.0, 1.0]]]  # by its own: mean 1, deviation 1
    second = torch.tensor([[[1.0, 9.0]], [[3.0, 7.0]]], dtype=torch.float64, requires_grad=True)  # 5, sqrt(10)
    found = norm.normalised(second)
    torch.testing.assert_close(found, second - 1.0)  # by the first batch's
    wanted = (second - second.mean()) / second.var(correction=0).sqrt() * math.sqrt(10)
    weights = torch.tensor([[[1.0, -2.0]], [[0.5, 3.0]]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((found * weights).sum(), second)
    torch.testing.assert_close(gradient, torch.autograd.grad((wanted * weights).sum(), second)[0])
    assert norm.moving is not None
    mean, deviation = norm.moving
    assert mean.item() == pytest.approx(0.75 * 1 + 0.25 * 5)
    assert deviation.item() == pytest.approx(0.75 * 1 + 0.25 * math.sqrt(10))


def test_its_steps_by_hand(confident: Parts, batches: list[torch.Tensor]) -> None:
    method = Delta(confident.backbone, learning_rate=0.01, statistics_momentum=0.8, momentum=0.7)
    network, norms = renormalised(confident.backbone, lambda layer: Renormalising(layer, 0.8))
    trained = [p.requires_grad_(True) for norm in norms for p in (norm.layer.weight, norm.layer.bias)]
    optimizer = torch.optim.SGD(trained, lr=0.01, momentum=0.9)
    q = torch.full((4,), 0.25, dtype=torch.float64)
    margin, left_out = 0.5 * math.log(4), 0
    for batch in batches * 2:
        logits = network(batch)
        torch.testing.assert_close(method.predict(batch), logits.detach())
        p = logits.softmax(dim=1)
        rarity = [1 / q[int(row.argmax())].item() for row in p]
        terms = []
        for row, weight in zip(p, rarity, strict=True):
            entropy = -(row * row.log()).sum()
            if entropy < margin:
                terms.append(math.exp(margin - entropy.item()) * weight / (sum(rarity) / 6) * entropy)
        left_out += 6 - len(terms)
        if terms:
            optimizer.zero_grad()
            (sum(terms) / len(terms)).backward()
            optimizer.step()
        q = 0.7 * q + 0.3 * p.detach().mean(dim=0)
        torch.testing.assert_close(method.frequency, q)
    assert 0 < left_out < 36


def test_without_batchnorm_the_weights_remain() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 64, 3))
    method = Delta(Backbone(network, image_size=8).freeze(), learning_rate=0.1, entropy_margin=1.0)
    images = torch.randn(6, 3, 8, 8)
    torch.testing.assert_close(method.predict(images), network(images))
    assert not torch.allclose(method.predict(images), network(images))


@pytest.mark.parametrize(
    "setting",
    [{"learning_rate": 1e-2}, {"statistics_momentum": 0.5}, {"momentum": 0.1}, {"entropy_margin": 0.2}],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(confident: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    usual, changed = Delta(confident.backbone), Delta(confident.backbone, **setting)
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
