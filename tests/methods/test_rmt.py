"""`rmt` against an independent version, its contrast by hand, and what each setting does."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.methods.augmentations import jitter_views
from gformer_cli.methods.base import Parts
from gformer_cli.methods.rmt import Rmt, contrast

Plain = Callable[[], nn.Module]
IMAGES = torch.rand(2, 5, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def test_contrast_is_how_far_views_are_from_picking_their_own() -> None:
    unit = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [0.8, -0.6], [1.0, 0.0], [0.0, -1.0]]).double()
    names = [0, 1, 0, 1, 0, 1]  # three views of two images
    terms = []
    for anchor in range(6):
        chances = {j: math.exp(float(unit[anchor] @ unit[j]) / 0.1) for j in range(6) if j != anchor}
        own = [j for j in chances if names[j] == names[anchor]]
        terms.append(sum(-math.log(chances[j] / sum(chances.values())) for j in own) / len(own))
    assert contrast(unit.view(3, 2, 2)).item() == pytest.approx(sum(terms) / 6)


def test_contrast_of_a_single_image_has_finite_gradients() -> None:
    views = torch.randn(3, 1, 4, dtype=torch.float64, requires_grad=True)
    contrast(F.normalize(views, dim=2)).backward()
    assert views.grad is not None and views.grad.isfinite().all()


def _sce(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (-0.5 * (b.softmax(1) * a.log_softmax(1)).sum(1) - 0.5 * (a.softmax(1) * b.log_softmax(1)).sum(1)).mean()


@pytest.mark.parametrize("prepared", [True, False])
def test_its_steps_by_hand(parts: Parts, batches: list[torch.Tensor], plain: Plain, prepared: bool) -> None:
    method = Rmt.from_parts(parts, learning_rate=2e-3, momentum=0.9, contrast_weight=0.5)
    student, teacher = plain().train(), plain().train()
    heads = [network.fc for network in (student, teacher)]
    for network in (student, teacher):
        network.fc = nn.Identity()
    (inner, outer), projection = heads, copy.deepcopy(method.projection)
    prototypes = inner.weight.detach().clone()
    own = [*student.parameters(), *inner.parameters()]
    optimizer = torch.optim.Adam([*own, *projection.parameters()], lr=2e-3)

    def step(loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip([*teacher.parameters(), *outer.parameters()], own, strict=True):
                slow.copy_(0.9 * slow + 0.1 * fast)

    if prepared:
        with torch.no_grad():
            features = plain().eval()
            features.fc = nn.Identity()
            seen = features(IMAGES.flatten(0, 1))
        labels = inner(seen).argmax(dim=1)
        for label in labels.unique():
            prototypes[label] = seen[labels == label].mean(dim=0)
        method.prepare(IMAGES)
        for number, images in enumerate(IMAGES, start=1):
            optimizer.param_groups[0]["lr"] = 2e-3 * number / 2
            step(_sce(inner(student(images)), outer(teacher(images)).detach()))
    augment, generator = jitter_views(parts.preprocessing, mirrored=True), torch.Generator().manual_seed(0)
    for batch in batches:
        features, view = student(batch), student(augment(batch, generator))
        logits, taught = inner(features), outer(teacher(batch)).detach()
        torch.testing.assert_close(method.predict(batch), logits.detach() + taught)
        nearest = F.cosine_similarity(features.detach()[:, None], prototypes[None], dim=2).argmax(dim=1)
        views = F.normalize(projection(torch.stack([prototypes[nearest], features, view])), dim=2)
        step(0.5 * _sce(logits, taught) + 0.5 * _sce(inner(view), taught) + 0.5 * contrast(views))


def test_the_warm_up_outlasts_a_reset(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Rmt.from_parts(parts)
    method.prepare(IMAGES)
    first = method.predict(batches[0])
    method.predict(batches[1])
    method.reset()
    assert torch.equal(method.predict(batches[0]), first)
    bare = Rmt.from_parts(parts)
    bare.prepare([])
    assert not torch.equal(bare.predict(batches[0]), first)


@pytest.mark.parametrize(
    "setting",
    [{"learning_rate": 1e-2}, {"momentum": 0.5}, {"contrast_weight": 0.0}, {"seed": 1}],
    ids=lambda value: next(iter(value)),
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    usual, changed = Rmt.from_parts(parts), Rmt.from_parts(parts, **setting)
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
