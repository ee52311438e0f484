"""`roid` and `cmf` against their equations written out, and what each setting does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gformer_cli.methods.augmentations import jitter_views
from gformer_cli.methods.base import Parts
from gformer_cli.methods.cmf import Cmf
from gformer_cli.methods.roid import Roid

Plain = Callable[[], nn.Module]


def _run(method: Roid, batches: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([method.predict(batch) for batch in batches])


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * p.log()).sum(dim=1)


def _loss(
    network: nn.Module, batch: torch.Tensor, logits: torch.Tensor, average: torch.Tensor, view: Callable[..., Any]
) -> torch.Tensor:
    p = logits.softmax(dim=1)
    with torch.no_grad():
        far = 1 - (p @ average) / (p.norm(dim=1) * average.norm())
        far = (far - far.min()) / (far.max() - far.min())
        sure = -_entropy(p)
        sure = (sure - sure.min()) / (sure.max() - sure.min())
        kept = far >= far.mean()
        weights = torch.exp(3 * far * sure)[kept]
    clipped = p[kept].clamp(max=0.99)
    ratio = -(clipped * (clipped / (1 - clipped) + 1e-5).log()).sum(dim=1)
    seen = network(view(batch[kept]))
    both = -0.5 * (p[kept] * seen.log_softmax(dim=1)).sum(dim=1)
    both = both - 0.5 * (seen.softmax(dim=1) * logits[kept].log_softmax(dim=1)).sum(dim=1)
    return ((ratio + both) * weights).sum() / len(batch)


@pytest.mark.parametrize("name", ["roid", "cmf"])
def test_its_steps_by_hand(confident: Parts, batches: list[torch.Tensor], plain: Plain, name: str) -> None:
    network = plain().train()
    affine = [p for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in (m.weight, m.bias)]
    source = [p.detach().clone() for p in affine]
    hidden, variance = [p.clone() for p in source], 0.0
    q = 0.2 * sum(p.numel() for p in affine) / 38400
    method = (
        Roid.from_parts(confident, learning_rate=0.01, momentum=0.9)
        if name == "roid"
        else Cmf.from_parts(confident, learning_rate=0.01, alpha=0.7, gamma=0.8, noise=0.2)
    )
    augment, generator = jitter_views(confident.preprocessing, mirrored=True, blur=False), torch.Generator()
    generator.manual_seed(0)
    optimizer = torch.optim.Adam(affine, lr=0.01)
    average = torch.full((4,), 0.25, dtype=torch.float64)
    for batch in batches * 2:
        logits = network(batch)
        p = logits.detach().softmax(dim=1)
        prior = p.mean(dim=0)
        smooth = (1 / 4) / prior.max()
        torch.testing.assert_close(method.predict(batch), logits.detach() * (prior + smooth) / (1 + 4 * smooth))
        loss = _loss(network, batch, logits, average, lambda images: augment(images, generator))
        average = 0.9 * average + 0.1 * prior
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            if name == "roid":
                for a, s in zip(affine, source, strict=True):
                    a.copy_(0.9 * a + 0.1 * s)
                continue
            variance = 0.49 * variance + q
            beta = max((1 - q) / (variance + 1 - q), 0.89)
            variance = beta * variance
            assert 0.89 < beta < 0.9999  # neither limit hides the filter
            for index, (a, s) in enumerate(zip(affine, source, strict=True)):
                hidden[index] = beta * (0.7 * hidden[index] + 0.3 * s) + (1 - beta) * a
                a.copy_(0.8 * a + 0.2 * hidden[index])


def test_the_filter_follows_the_source_alone_where_its_noise_is_none(
    confident: Parts, batches: list[torch.Tensor]
) -> None:
    still = Cmf.from_parts(confident, noise=0.0, gamma=0.9)
    assert torch.equal(_run(still, batches), _run(Roid.from_parts(confident, momentum=0.9), batches))


def test_the_filters_share_has_a_least_value(confident: Parts, batches: list[torch.Tensor]) -> None:
    method = Cmf.from_parts(confident, noise=10.0)
    assert (1 - method.q) / (method.q + 1 - method.q) < 0.89
    method.predict(batches[0])
    assert method.variance == pytest.approx(0.89 * method.q)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (Roid, {"learning_rate": 1e-2}),
        (Roid, {"momentum": 0.5}),
        (Roid, {"renewed": 0.9}),
        (Roid, {"temperature": 3.0}),
        (Roid, {"seed": 1}),
        (Cmf, {"learning_rate": 1e-2}),
        (Cmf, {"alpha": 0.5}),
        (Cmf, {"gamma": 0.5}),
        (Cmf, {"noise": 1.0}),
        (Cmf, {"renewed": 0.9}),
        (Cmf, {"temperature": 3.0}),
        (Cmf, {"seed": 1}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else next(iter(value)),
)
def test_each_keyword_has_an_effect(
    confident: Parts, batches: list[torch.Tensor], kind: type[Roid], setting: dict[str, Any]
) -> None:
    # a filter that moves, which it would not in a network as small as this
    common = {"noise": 0.2, "alpha": 0.9} if kind is Cmf else {}
    usual, changed = kind.from_parts(confident, **common), kind.from_parts(confident, **{**common, **setting})
    assert not torch.equal(_run(changed, batches * 2), _run(usual, batches * 2))
