"""`lame` against its iteration written out entry by entry, and its properties."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods.base import Parts
from gformer_cli.methods.features import logits_and_features
from gformer_cli.methods.lame import Lame

Plain = Callable[[], nn.Module]


@torch.no_grad()
def _by_hand(network: nn.Module, batch: torch.Tensor, neighbours: int) -> torch.Tensor:
    probabilities = network.eval()(batch).softmax(dim=1).tolist()
    network.fc = nn.Identity()
    unit = [z / z.norm() for z in network(batch)]
    size, classes = len(batch), len(probabilities[0])
    near = []
    for i in range(size):
        others = sorted((j for j in range(size) if j != i), key=lambda j: float((unit[i] - unit[j]).norm()))
        near.append(others[:neighbours])
    z = probabilities
    for _ in range(1000):
        raw = [
            [probabilities[i][k] * math.exp(sum(z[j][k] for j in near[i])) for k in range(classes)] for i in range(size)
        ]
        z = [[value / sum(row) for value in row] for row in raw]
    return torch.tensor(z, dtype=torch.float64)


@pytest.mark.parametrize("neighbours", [1, 3, 5, 50])
def test_softmax_of_its_logits_is_the_assignment_by_hand(
    parts: Parts, batches: list[torch.Tensor], plain: Plain, neighbours: int
) -> None:
    logits = Lame(parts.backbone, neighbours=neighbours).predict(batches[0])
    wanted = _by_hand(plain(), batches[0], neighbours)
    torch.testing.assert_close(logits.softmax(dim=1), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(logits.exp(), logits.softmax(dim=1))  # log-probabilities as they are


def test_it_stops_at_a_fixed_point(parts: Parts, batches: list[torch.Tensor]) -> None:
    images = torch.cat(batches)
    z = Lame(parts.backbone).predict(images).exp()
    logits, features = logits_and_features(parts.backbone, images)
    distances = torch.cdist(*2 * [nn.functional.normalize(features)]).fill_diagonal_(torch.inf)
    nearest = distances.argsort(dim=1)[:, :5]
    torch.testing.assert_close((logits + z[nearest].sum(dim=1)).softmax(dim=1), z, atol=1e-5, rtol=0)


def test_the_number_of_neighbours_has_an_effect(parts: Parts, batches: list[torch.Tensor]) -> None:
    assert not torch.equal(
        Lame(parts.backbone, neighbours=1).predict(batches[0]), Lame(parts.backbone).predict(batches[0])
    )


def test_a_batch_of_one_keeps_the_source_models_prediction(parts: Parts, batches: list[torch.Tensor]) -> None:
    image = batches[0][:1]
    torch.testing.assert_close(Lame(parts.backbone).predict(image), parts.backbone(image).log_softmax(dim=1))


def test_permuting_a_batch_permutes_the_predictions(parts: Parts, batches: list[torch.Tensor]) -> None:
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    method = Lame(parts.backbone)
    torch.testing.assert_close(method.predict(batches[0][order]), method.predict(batches[0])[order])


def test_it_has_no_state(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Lame(parts.backbone)
    first = method.predict(batches[0])
    method.predict(batches[1])
    assert torch.equal(method.predict(batches[0]), first)
