"""`eata` against its equations written out, and what each setting does."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts
from gformer_cli.methods.eata import Eata
from gformer_cli.networks.head import make_head

Plain = Callable[[], nn.Module]


def _affine(network: nn.Module) -> list[nn.Parameter]:
    return [p for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in (m.weight, m.bias)]


def _run(method: Eata, batches: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([method.predict(batch) for batch in batches])


@pytest.mark.parametrize("prepared", [True, False])
def test_it_is_sgd_on_weighted_chosen_entropies_and_the_fisher_penalty(
    confident: Parts, batches: list[torch.Tensor], plain: Plain, prepared: bool
) -> None:
    images = torch.rand(2, 5, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    network = plain().train()
    affine = _affine(network)
    source = [p.detach().clone() for p in affine]
    fisher = [torch.zeros_like(p) for p in affine]
    for batch in images:  # equation 9
        logits = network(batch)
        gradients = torch.autograd.grad(F.cross_entropy(logits, logits.argmax(dim=1)), affine)
        fisher = [f + g**2 / len(images) for f, g in zip(fisher, gradients, strict=True)]
    method = Eata(confident.backbone, fisher_weight=3.0)
    if prepared:
        method.prepare(iter(images))

    optimizer = torch.optim.SGD(affine, lr=5e-3, momentum=0.9)
    margin, epsilon = 0.4 * math.log(4), 0.4 * math.sqrt(10 / 4)
    average = None
    counts = []
    for batch in batches * 2:
        wanted = network(batch)
        torch.testing.assert_close(method.predict(batch), wanted.detach())
        terms, seen = [], []
        for p in wanted.softmax(dim=1):
            e = -(p * p.log()).sum()
            if e >= margin:
                continue
            if average is not None and p @ average / (p.norm() * average.norm()) >= epsilon:
                continue
            terms.append(math.exp(margin - e.item()) * e)
            seen.append(p.detach())
        counts.append(len(terms))
        if not terms:
            continue
        mean = sum(seen) / len(seen)
        average = mean if average is None else 0.9 * average + 0.1 * mean
        loss = sum(terms) / len(terms)
        if prepared:
            loss = loss + 3.0 * sum((f * (p - s) ** 2).sum() for f, p, s in zip(fisher, affine, source, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert sum(count > 0 for count in counts) >= 3  # the test has seen steps,
    assert max(counts) < len(batches[0])  # and samples left out


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 1e-2},
        {"momentum": 0.0},
        {"entropy_margin": 0.9},
        {"similarity": 0.1},
        {"fisher_weight": 500.0},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(confident: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    usual, changed = Eata(confident.backbone), Eata(confident.backbone, **setting)
    for method in (usual, changed):
        method.prepare(batches)
    assert not torch.allclose(_run(changed, batches * 2), _run(usual, batches * 2), rtol=0, atol=1e-6)


def test_without_prepare_the_fisher_weight_has_no_effect(confident: Parts, batches: list[torch.Tensor]) -> None:
    assert torch.equal(
        _run(Eata(confident.backbone), batches), _run(Eata(confident.backbone, fisher_weight=500.0), batches)
    )
    empty = Eata(confident.backbone)
    empty.prepare([])
    assert torch.equal(_run(empty, batches), _run(Eata(confident.backbone), batches))


def test_the_fisher_penalty_outlasts_a_reset(confident: Parts, batches: list[torch.Tensor]) -> None:
    method = Eata(confident.backbone, fisher_weight=500.0)
    method.prepare(batches)
    first = _run(method, batches)
    method.reset()
    assert torch.equal(_run(method, batches), first)


def test_a_batch_without_chosen_samples_changes_nothing(confident: Parts, batches: list[torch.Tensor]) -> None:
    method, bn = Eata(confident.backbone, entropy_margin=0.0), METHODS["bn"].from_parts(confident)
    for batch in [*batches, batches[0][:1]]:
        assert torch.equal(method.predict(batch), bn.predict(batch))
    assert method.average is None


def test_equal_samples_are_redundant_once_they_are_in_the_average(parts: Parts) -> None:
    method = Eata(parts.backbone)
    one_class = torch.eye(4, dtype=torch.float64)[[0, 0]]
    other_class = torch.eye(4, dtype=torch.float64)[[1]]
    sure = torch.zeros(2, dtype=torch.float64)
    assert method._choose(one_class, sure).tolist() == [True, True]
    assert method._choose(one_class, sure).tolist() == [False, False]
    assert torch.equal(method.average, one_class[0])
    assert method._choose(other_class, sure[:1]).tolist() == [True]
    torch.testing.assert_close(method.average, 0.9 * one_class[0] + 0.1 * other_class[0])


@pytest.mark.parametrize("classes", [2, 4, 10, 1000])
def test_a_confident_sample_is_not_redundant_in_an_even_stream(parts: Parts, classes: int) -> None:
    features = parts.backbone.classifier.in_features
    parts.backbone.network.fc = nn.Linear(features, classes, dtype=torch.float64)  # type: ignore[assignment]
    make_head(parts.backbone.network, "fc")
    method = Eata(parts.backbone)
    method.average = torch.full((classes,), 1 / classes, dtype=torch.float64)
    assert method._choose(torch.eye(classes, dtype=torch.float64)[:1], torch.zeros(1, dtype=torch.float64)).all()
