"""`petta`: its divergence by hand, its steps against an independent version, and what each setting does."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from gformer_cli.methods.augmentations import jitter_views
from gformer_cli.methods.base import Parts
from gformer_cli.methods.features import ClassMoments, logits_and_features
from gformer_cli.methods.petta import Petta
from gformer_cli.methods.rotta import moving_statistics

SOURCE = torch.rand(4, 6, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_divergence_is_of_the_classes_that_the_batch_shows_before_they_move(parts: Parts) -> None:
    method = Petta.from_parts(parts)
    width = parts.backbone.classifier.weight.shape[1]
    counts = torch.tensor([5.0, 5.0, 1.0, 5.0], dtype=torch.float64)
    means = torch.zeros(4, width, dtype=torch.float64)
    source = ClassMoments(counts, means, torch.full_like(means, 0.25))
    method.means = means.clone()
    method.means[0] = 0.3
    method.means[1] = 9.0  # which the batch does not show
    method.means[2] = 9.0  # of whose variance nothing is known
    features = torch.full((3, width), 1.0, dtype=torch.float64)
    labels = torch.tensor([0, 2, 3])
    found = method._divergence(source, features, labels)
    assert found == pytest.approx(1 - math.exp(-(0.09 / 0.250001 + 0.0) / 2))
    moved = [0.95 * 0.3 + 0.05, 9.0, 0.95 * 9 + 0.05, 0.05]
    torch.testing.assert_close(method.means[:, 0], torch.tensor(moved, dtype=torch.float64))
    assert method._divergence(source, features[:1], torch.tensor([2])) == 0.0


def _sce(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (-0.5 * (b.softmax(1) * a.log_softmax(1)).sum(1) - 0.5 * (a.softmax(1) * b.log_softmax(1)).sum(1)).mean()


@pytest.mark.parametrize("prepared", [True, False])
def test_its_steps_by_hand(parts: Parts, batches: list[torch.Tensor], prepared: bool) -> None:
    # a memory that takes everything: what the memory chooses is tested with `rotta`
    method = Petta.from_parts(parts, learning_rate=1e-2, alpha=0.3, nu=0.2, regularisation=2.0, capacity=1000)
    student, teacher, anchor = (copy.deepcopy(parts.backbone) for _ in range(3))
    affine = [p.requires_grad_(True) for layer in student.layers for p in (layer.weight, layer.bias)]
    slow = [p for layer in teacher.layers for p in (layer.weight, layer.bias)]
    start = [p.detach().clone() for p in affine]
    optimizer = torch.optim.Adam(affine, lr=1e-2)
    augment, generator = jitter_views(parts.preprocessing, mirrored=True), torch.Generator().manual_seed(0)
    other = Petta.from_parts(parts)
    if prepared:
        method.prepare(SOURCE)
        other.prepare(SOURCE)
    stream = torch.cat(batches)
    for end in range(6, len(stream) + 1, 6):
        logits, features = logits_and_features(teacher, stream[end - 6 : end])
        torch.testing.assert_close(method.predict(stream[end - 6 : end]), logits)
        d = other._divergence(other.source, features, logits.argmax(dim=1)) if other.source is not None else None
        weight, rate = (2.0, 0.2) if d is None else (2.0 * d, 0.2 * (1 - d))
        memory = stream[:end]
        with torch.no_grad():
            taught, held = (moving_statistics(model, memory, 0.3) for model in (teacher, anchor))
        own = moving_statistics(student, memory, 0.3)
        view = moving_statistics(student, augment(memory, generator), 0.3)
        loss = 0.5 * _sce(own, taught) + 0.5 * _sce(view, taught)
        loss = loss - (held.softmax(dim=1) * view.log_softmax(dim=1)).sum(dim=1).mean()
        near = [(a @ b) / (a.norm() * b.norm()).clamp_min(1e-8) for a, b in zip(affine, start, strict=True)]
        optimizer.zero_grad()
        (loss - weight * sum(near) / len(near)).backward()
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(slow, affine, strict=True):
                a.copy_((1 - rate) * a + rate * b)
    if prepared:
        assert d is not None and 0.0 < d < 1.0


def test_what_it_learned_of_the_source_outlasts_a_reset(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Petta.from_parts(parts, nu=0.5)
    method.prepare(SOURCE)
    first = [method.predict(batch) for batch in batches]
    method.reset()
    assert all(torch.equal(method.predict(batch), logits) for batch, logits in zip(batches, first, strict=True))
    bare = Petta.from_parts(parts, nu=0.5)
    bare.prepare([])
    assert not torch.equal(torch.stack([bare.predict(batch) for batch in batches]), torch.stack(first))


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 1e-2},
        {"alpha": 0.5},
        {"nu": 0.1},
        {"regularisation": 0.0},
        {"capacity": 4},
        {"seed": 1},
    ],
    ids=lambda value: next(iter(value)),
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    usual, changed = (Petta.from_parts(parts, **{"nu": 0.5, **more}) for more in ({}, setting))
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
