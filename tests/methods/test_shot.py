"""`shot-im` against SGD by hand on a network in training mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts
from gformer_cli.methods.shot import ShotIM

Plain = Callable[[], nn.Module]


def test_it_maximises_information_and_predicts_before_its_step(
    parts: Parts, batches: list[torch.Tensor], plain: Plain
) -> None:
    network = plain().train()
    below = [p for name, p in network.named_parameters() if not name.startswith("fc.")]
    optimizer = torch.optim.SGD(below, lr=1e-3, momentum=0.9, weight_decay=1e-3, nesterov=True)
    method = ShotIM(parts.backbone)
    for batch in batches:
        wanted = network(batch)
        torch.testing.assert_close(method.predict(batch), wanted.detach())
        p = wanted.softmax(dim=1)
        mean = p.mean(dim=0)
        loss = -(p * p.log()).sum(dim=1).mean() + (mean * mean.log()).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_convolutions_and_affine_parameters_move_and_the_classifier_does_not(
    parts: Parts, batches: list[torch.Tensor]
) -> None:
    method = ShotIM(parts.backbone)
    method.predict(batches[0])
    before, after = dict(parts.backbone.named_parameters()), dict(method.adapted.named_parameters())
    still = {name for name, tensor in before.items() if torch.equal(after[name], tensor)}
    assert still == {"network.fc.weight", "network.fc.bias"}


@pytest.mark.parametrize("setting", [{"learning_rate": 1e-2}, {"momentum": 0.0}, {"weight_decay": 0.1}])
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    usual, changed = ShotIM(parts.backbone), ShotIM(parts.backbone, **setting)
    assert torch.equal(usual.predict(batches[0]), changed.predict(batches[0]))
    assert not torch.allclose(usual.predict(batches[1]), changed.predict(batches[1]), rtol=0, atol=1e-6)


def test_a_single_image_gives_no_step(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = ShotIM(parts.backbone)
    for image in batches[0]:
        method.predict(image[None])
    assert torch.equal(method.predict(batches[1]), METHODS["bn"].from_parts(parts).predict(batches[1]))
