"""`sar` against a step of SAM by hand, its filters, and its recovery."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts
from gformer_cli.methods.sar import Sar

Plain = Callable[[], nn.Module]


def _entropies(logits: torch.Tensor) -> torch.Tensor:
    probabilities = logits.softmax(dim=1)
    return -(probabilities * probabilities.log()).sum(dim=1)


def _run(method: Sar, batches: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([method.predict(batch) for batch in batches])


def test_it_is_sgd_from_the_worst_point_nearby(confident: Parts, batches: list[torch.Tensor], plain: Plain) -> None:
    network = plain().train()
    affine = [
        p
        for name, m in network.named_modules()
        if isinstance(m, nn.BatchNorm2d) and "layer4" not in name
        for p in (m.weight, m.bias)
    ]
    optimizer = torch.optim.SGD(affine, lr=1e-2, momentum=0.9)
    margin = 0.4 * math.log(4)
    method = Sar(confident.backbone, learning_rate=1e-2)
    average = None
    counts = []
    for batch in batches * 2:
        wanted = network(batch)
        torch.testing.assert_close(method.predict(batch), wanted.detach())
        entropies = _entropies(wanted)
        reliable = entropies < margin
        counts.append(int(reliable.sum()))
        if not reliable.any():
            continue
        gradients = torch.autograd.grad(entropies[reliable].mean(), affine)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        here = [p.detach().clone() for p in affine]
        with torch.no_grad():
            for p, g in zip(affine, gradients, strict=True):
                p.add_(0.05 * g / norm)
        loss = torch.stack([e for e in _entropies(network(batch))[reliable] if e < margin]).mean()
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p, old in zip(affine, here, strict=True):
                p.copy_(old)
        optimizer.step()
        average = loss.item() if average is None else 0.9 * average + 0.1 * loss.item()
        assert method.average == pytest.approx(average)
    assert sum(count > 0 for count in counts) >= 3  # the test has seen steps,
    assert min(counts) < len(batches[0])  # and samples left out


def test_the_last_quarter_of_the_layers_is_the_last_stage_of_a_resnet18(parts: Parts) -> None:
    names = parts.backbone.layer_names
    count = Sar(parts.backbone).trained_layers
    assert names[count:] == [name for name in names if name.startswith("layer4.")]


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 1e-2},
        {"momentum": 0.0},
        {"entropy_margin": 0.9},
        {"rho": 0.5},
        {"reset_constant": 3.0},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(confident: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    usual, changed = Sar(confident.backbone), Sar(confident.backbone, **setting)
    assert not torch.allclose(_run(changed, batches * 2), _run(usual, batches * 2), rtol=0, atol=1e-6)


def test_it_recovers_when_the_average_falls_below_the_constant(confident: Parts, batches: list[torch.Tensor]) -> None:
    bn = METHODS["bn"].from_parts(confident)
    method = Sar(confident.backbone, reset_constant=math.log(1000))  # above every entropy: each step is undone
    for batch in batches:
        assert torch.equal(method.predict(batch), bn.predict(batch))
        assert method.average is None

    method = Sar(confident.backbone)
    method.predict(batches[0])
    average = method.average
    assert average is not None
    # the constant is in nats at 1000 classes: scaled to four, the two sides of this average keep and recover
    kept = Sar(confident.backbone, reset_constant=0.999 * average * math.log(1000) / math.log(4))
    recovered = Sar(confident.backbone, reset_constant=1.001 * average * math.log(1000) / math.log(4))
    for method in (kept, recovered):
        method.predict(batches[0])
    assert kept.average == average
    assert recovered.average is None


def test_a_batch_without_reliable_samples_changes_nothing(confident: Parts, batches: list[torch.Tensor]) -> None:
    method, bn = Sar(confident.backbone, entropy_margin=0.0), METHODS["bn"].from_parts(confident)
    for batch in [*batches, batches[0][:1]]:
        assert torch.equal(method.predict(batch), bn.predict(batch))
    assert method.average is None


def test_samples_unreliable_at_the_worst_point_change_nothing(confident: Parts, batches: list[torch.Tensor]) -> None:
    bn = METHODS["bn"].from_parts(confident)
    image = batches[0][:1]
    entropy = _entropies(bn.predict(image)).item()
    method = Sar(confident.backbone, entropy_margin=entropy * 1.0001 / math.log(4))  # a step uphill passes it
    method.predict(image)
    assert method.average is None
    assert torch.equal(method.predict(batches[1]), bn.predict(batches[1]))
