"""`rotta` and its memory against independent versions, and what each setting does."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods.augmentations import jitter_views
from gformer_cli.methods.base import Parts
from gformer_cli.methods.rotta import BalancedMemory, Rotta
from gformer_cli.networks.norms import AdaptiveBatchNorm2d

Plain = Callable[[], nn.Module]


class _Robust(nn.Module):
    """Normalisation by an exponential moving average of statistics, gradients through the newest part of it."""

    def __init__(self, layer: AdaptiveBatchNorm2d, alpha: float) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.alpha = layer.weight, layer.bias, layer.eps, alpha
        self.mean, self.var = layer.running_mean.clone(), layer.running_var.clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, var = self.mean, self.var
        if self.training:
            mean = (1 - self.alpha) * mean + self.alpha * x.mean(dim=(0, 2, 3))
            var = (1 - self.alpha) * var + self.alpha * x.var(dim=(0, 2, 3), unbiased=False)
            self.mean, self.var = mean.detach(), var.detach()
        mean, var, weight, bias = (t.view(1, -1, 1, 1) for t in (mean, var, self.weight, self.bias))
        return (x - mean) / (var + self.eps).sqrt() * weight + bias


def _robust(network: nn.Module, alpha: float) -> tuple[nn.Module, list[nn.Parameter]]:
    affine = []
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, AdaptiveBatchNorm2d):
                setattr(module, name, _Robust(child, alpha))
                affine += [child.weight, child.bias]
    return network, affine


def _run(method: Rotta, batches: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack([method.predict(batch) for batch in batches])


def test_its_updates_by_hand(parts: Parts, batches: list[torch.Tensor], plain: Plain) -> None:
    # a memory that takes everything and an update after each batch: what the memory chooses is tested below
    (student, fast), (teacher, slow) = _robust(plain(), 0.3), _robust(plain(), 0.3)
    optimizer = torch.optim.Adam(fast, lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    method = Rotta.from_parts(parts, learning_rate=1e-2, alpha=0.3, nu=0.2, capacity=1000, update_every=6)
    stream = torch.cat([*batches, *batches])
    for end in range(6, len(stream) + 1, 6):
        batch = stream[end - 6 : end]
        with torch.no_grad():
            predicted = teacher.eval()(batch)
        torch.testing.assert_close(method.predict(batch), predicted)
        memory = stream[:end]
        ages = torch.arange(end, 0, -1, dtype=torch.float64) / 1000  # the newest has age 1
        with torch.no_grad():
            wanted = teacher.train()(memory).softmax(dim=1)
        logits = student.train()(jitter_views(parts.preprocessing, mirrored=parts.mirrored)(memory, generator))
        losses = -(wanted * logits.log_softmax(dim=1)).sum(dim=1)
        loss = (losses * torch.exp(-ages) / (1 + torch.exp(-ages))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for a, b in zip(slow, fast, strict=True):
                a.copy_(0.8 * a + 0.2 * b)


def test_only_gamma_and_beta_are_trained(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Rotta.from_parts(parts, update_every=6)
    _run(method, batches)
    affine = {f"network.{name}.{kind}" for name in parts.backbone.layer_names for kind in ("weight", "bias")}
    source = dict(parts.backbone.named_parameters())
    for model in (method.student, method.teacher):
        moved = {name for name, p in model.named_parameters() if not torch.equal(p, source[name])}
        assert moved and moved <= affine


def test_predictions_are_the_source_models_until_the_first_update(
    parts: Parts, batches: list[torch.Tensor], plain: Plain
) -> None:
    method = Rotta.from_parts(parts, update_every=12)
    source = plain().eval()
    with torch.no_grad():
        assert torch.equal(method.predict(batches[0]), source(batches[0]))
        assert torch.equal(method.predict(batches[1]), source(batches[1]))
        assert not torch.allclose(method.predict(batches[2]), source(batches[2]))


def test_images_count_not_batches(parts: Parts, batches: list[torch.Tensor]) -> None:
    stream = torch.cat(batches)
    whole, pieces = Rotta.from_parts(parts, update_every=6), Rotta.from_parts(parts, update_every=6)
    whole.predict(stream)
    for start in range(0, len(stream), 2):
        pieces.predict(stream[start : start + 2])
    # predictions may differ, since a batch is predicted before its updates; the number of updates may not
    assert whole.optimizer.state[whole.student.layers[0].weight]["step"] == 3
    assert pieces.optimizer.state[pieces.student.layers[0].weight]["step"] == 3


@pytest.mark.parametrize(
    "setting",
    [
        {"learning_rate": 1e-2},
        {"alpha": 0.5},
        {"nu": 0.5},
        {"capacity": 4},
        {"update_every": 3},
        {"timeliness": 0.0},
        {"uncertainty": 100.0},
        {"seed": 1},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    common: dict[str, float] = {"capacity": 8, "update_every": 6, "nu": 0.1}
    stream = batches * 2
    assert not torch.equal(
        _run(Rotta.from_parts(parts, **common), stream), _run(Rotta.from_parts(parts, **{**common, **setting}), stream)
    )


def test_the_same_stream_gives_the_same_predictions(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Rotta.from_parts(parts, update_every=6)
    first = _run(method, batches)
    torch.rand(7)
    method.predict(batches[0][:5])  # leaves the memory and the count in the middle of things
    method.reset()
    assert torch.equal(_run(method, batches), first)


def test_the_memory_agrees_with_lists_per_class() -> None:
    capacity, classes, timeliness, uncertainty = 10, 4, 0.7, 1.3
    memory = BalancedMemory(capacity, classes, timeliness=timeliness, uncertainty=uncertainty)
    lists: list[list[list[float]]] = [[] for _ in range(classes)]  # [name, entropy, age] per class

    def score(entry: list[float]) -> float:
        return timeliness / (1 + math.exp(-entry[2] / capacity)) + uncertainty * entry[1] / math.log(classes)

    generator = torch.Generator().manual_seed(0)
    for name in range(300):
        # runs of one class, as in a correlated stream
        label = (name // 9) % classes if name < 200 else int(torch.randint(classes, (), generator=generator))
        entropy = float(torch.rand((), generator=generator, dtype=torch.float64)) * math.log(classes)
        memory.add(torch.full((1,), float(name)), label, entropy)

        new = [float(name), entropy, 0.0]
        if len(lists[label]) >= capacity / classes:
            rivals = [label]
        elif sum(map(len, lists)) >= capacity:
            most = max(map(len, lists))
            rivals = [c for c in range(classes) if len(lists[c]) == most]
        else:
            rivals = []
        candidates = [(score(entry), c, entry) for c in rivals for entry in lists[c]]
        if not candidates:
            lists[label].append(new)
        elif max(candidates)[0] > score(new):
            _, c, entry = max(candidates)
            lists[c].remove(entry)
            lists[label].append(new)
        for entries in lists:
            for entry in entries:
                entry[2] += 1

        images, ages = memory.content()
        held = {(image.item(), age.item()) for image, age in zip(images, ages, strict=True)}
        assert held == {(entry[0], entry[2]) for entries in lists for entry in entries}
        assert len(images) <= capacity
        assert max(map(len, lists)) <= math.ceil(capacity / classes)


def test_the_memory_holds_more_classes_than_images() -> None:
    memory = BalancedMemory(3, 20, timeliness=1.0, uncertainty=1.0)
    for label in range(20):
        memory.add(torch.tensor([float(label)]), label, 0.0)
    labels = [item.label for item in memory.items]
    assert len(labels) == len(set(labels)) == 3


def test_the_memory_keeps_images_not_their_batches(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Rotta.from_parts(parts, capacity=5, update_every=4)
    for batch in batches * 5:
        assert not method.predict(batch).requires_grad
        assert len(method.memory.items) <= 5
    for item in method.memory.items:
        assert item.image.untyped_storage().nbytes() == item.image.numel() * item.image.element_size()
