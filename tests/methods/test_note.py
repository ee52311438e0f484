"""`note`: its layer and its memory by hand, its updates against an independent version, what each setting does."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch

from gformer_cli.methods.base import Parts
from gformer_cli.methods.normalisation import renormalised
from gformer_cli.methods.note import InstanceAware, Note, ReservoirMemory
from gformer_cli.networks.norms import AdaptiveBatchNorm2d


def _layer(mean: float, variance: float) -> AdaptiveBatchNorm2d:
    layer = AdaptiveBatchNorm2d(1, eps=0.0).double()
    layer.running_mean.fill_(mean)
    layer.running_var.fill_(variance)
    return layer


def test_an_images_statistics_count_for_what_exceeds_k_standard_errors() -> None:
    norm = InstanceAware(_layer(0.0, 4.0), k=0.5, renewed=0.1)
    # five positions: the mean's standard error is sqrt(4 / 5), the variance's 4 sqrt(2 / 4)
    near = torch.tensor([[[0.4, -0.4, 2.0, -2.0, 0.4]]], dtype=torch.float64)  # its variance is too small, not its mean
    far = near * 3 + 10.0
    own = near.var().item()
    variance = 4.0 - ((4.0 - own) - 0.5 * 4.0 * math.sqrt(0.5))
    assert own < 4.0 - 0.5 * 4.0 * math.sqrt(0.5) and abs(near.mean()) < 0.5 * math.sqrt(0.8)
    torch.testing.assert_close(norm.normalised(near), near / math.sqrt(variance))
    mean = far.mean().item() - 0.5 * math.sqrt(0.8)
    variance = 9 * own - 0.5 * 4.0 * math.sqrt(0.5)
    together = norm.normalised(torch.cat([near, far]))
    torch.testing.assert_close(together[1:], (far - mean) / math.sqrt(variance))
    torch.testing.assert_close(together[:1], norm.normalised(near))  # each image by itself
    alone = torch.tensor([[[6.0]]], dtype=torch.float64)
    assert norm.normalised(alone).item() == 3.0  # one position says nothing


def test_while_it_learns_statistics_are_the_batchs_and_the_moving_ones_follow() -> None:
    norm = InstanceAware(_layer(1.0, 4.0), k=100.0, renewed=0.1)
    norm.learning = True
    input = torch.tensor([[[0.0, 2.0]], [[4.0, 6.0]]], dtype=torch.float64)
    torch.testing.assert_close(norm.normalised(input), (input - 3.0) / math.sqrt(20 / 3))
    assert norm.layer.running_mean.item() == pytest.approx(0.9 * 1.0 + 0.1 * 3.0)
    assert norm.layer.running_var.item() == pytest.approx(0.9 * 4.0 + 0.1 * 20 / 3)


def test_a_variance_that_is_corrected_below_zero_is_zero() -> None:
    layer = _layer(0.0, 1.0)
    norm = InstanceAware(layer, k=0.0, renewed=0.1)
    norm.eps = 1e-4
    flat = torch.full((1, 1, 4), 2.0, dtype=torch.float64)
    assert norm.normalised(flat).abs().max() == 0.0


def test_its_updates_by_hand(confident: Parts, batches: list[torch.Tensor]) -> None:
    method = Note(confident.backbone, learning_rate=0.01, k=1.0, renewed=0.2, capacity=100, update_every=6)
    network, norms = renormalised(confident.backbone, lambda layer: InstanceAware(layer, 1.0, 0.2))
    trained = [p.requires_grad_(True) for norm in norms for p in (norm.layer.weight, norm.layer.bias)]
    optimizer = torch.optim.Adam(trained, lr=0.01)
    stream = torch.cat([*batches, batches[0]])
    for end in range(6, len(stream) + 1, 6):
        found = method.predict(stream[end - 6 : end])
        with torch.no_grad():
            one_by_one = torch.cat([network(image[None]) for image in stream[end - 6 : end]])
        torch.testing.assert_close(found, one_by_one)
        for norm in norms:
            norm.learning = True
        p = network(stream[:end]).softmax(dim=1)
        for norm in norms:
            norm.learning = False
        loss = -(p * p.log()).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert method.norms[0].layer.running_mean.allclose(norms[0].layer.running_mean)


def test_the_memory_is_balanced_over_classes_and_bounded() -> None:
    memory = ReservoirMemory(6, seed=0)
    for name in range(200):
        memory.add(torch.tensor([float(name)]), 0 if name < 150 else name % 3)
        assert len(memory.items) <= 6
    assert Counter(label for _, label in memory.items) == {0: 2, 1: 2, 2: 2}
    assert memory.content().shape == (6, 1)
    image = torch.zeros(4, 1)[0]
    memory.add(image, 7)
    assert memory.items[-1][0].untyped_storage().nbytes() == image.element_size()  # not its batch


def test_every_image_of_a_class_has_the_same_chance_to_stay() -> None:
    kept: Counter[int] = Counter()
    for seed in range(400):
        memory = ReservoirMemory(4, seed)
        for name in range(16):
            memory.add(torch.tensor([name]), 0)
        kept.update(int(image) for image, _ in memory.items)
    assert all(60 <= kept[name] <= 145 for name in range(16)), kept  # 100 expected, 8.7 standard deviation


@pytest.mark.parametrize(
    "setting",
    [{"learning_rate": 1e-2}, {"k": 0.5}, {"renewed": 0.5}, {"capacity": 3}, {"update_every": 3}, {"seed": 1}],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(confident: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    common = {"capacity": 5, "update_every": 6}
    usual, changed = (Note(confident.backbone, **{**common, **more}) for more in ({}, setting))
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
