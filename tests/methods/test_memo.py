"""`memo` against one optimiser step on a copy of the network, image by image."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

from gformer_cli.methods.augmentations import augmix_views
from gformer_cli.methods.base import Parts
from gformer_cli.methods.memo import Memo
from gformer_cli.networks.norms import AdaptiveBatchNorm2d

Plain = Callable[[], nn.Module]


def mixing(layer: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """BatchNorm whose statistics are the source's and the pass's by 4 to 1."""
    var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
    assert layer.running_mean is not None and layer.running_var is not None
    mean, var = layer.running_mean.lerp(mean, 0.2), layer.running_var.lerp(var, 0.2)
    scale = (layer.weight / (var + layer.eps).sqrt())[:, None, None]
    return (x - mean[:, None, None]) * scale + layer.bias[:, None, None]


def test_it_is_a_step_of_descent_on_the_marginal_entropy(
    parts: Parts, batches: list[torch.Tensor], plain: Plain
) -> None:
    generator = torch.Generator().manual_seed(2)
    augment = augmix_views(parts.preprocessing, mirrored=parts.mirrored)
    views = [augment(batches[0], generator) for _ in range(3)]
    predicted = Memo.from_parts(parts, learning_rate=0.1, copies=3, prior_count=4.0, seed=2).predict(batches[0])
    moved = []
    for index, image in enumerate(batches[0]):
        network = plain().eval()
        for layer in network.modules():
            if isinstance(layer, AdaptiveBatchNorm2d):
                layer.forward = partial(mixing, layer)  # type: ignore[method-assign]
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        before = network(image[None])[0].detach()
        marginal = network(torch.stack([view[index] for view in views])).softmax(dim=1).mean(dim=0)
        (-(marginal * marginal.log()).sum()).backward()
        optimizer.step()
        with torch.no_grad():
            after = network(image[None])[0]
        torch.testing.assert_close(predicted[index], after)
        moved.append(not torch.allclose(before, after))
    assert all(moved)


def test_a_prediction_depends_on_its_image_alone(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Memo.from_parts(parts, learning_rate=0.1, copies=2)
    together = method.predict(batches[0])
    method.predict(batches[1])
    assert torch.equal(method.predict(batches[0]), together)
    for index in (0, 4):
        torch.testing.assert_close(method.predict(batches[0][index : index + 1]), together[index : index + 1])
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(method.predict(batches[0][order]), together[order])


@pytest.mark.parametrize(
    "setting",
    [{"learning_rate": 1e-2}, {"copies": 3}, {"prior_count": 1.0}, {"seed": 1}],
    ids=lambda setting: next(iter(setting)),
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, float]) -> None:
    assert not torch.equal(
        Memo.from_parts(parts).predict(batches[0]), Memo.from_parts(parts, **setting).predict(batches[0])
    )


def test_nothing_is_kept_and_nobodys_randomness_is_used(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = Memo.from_parts(parts, copies=2)
    before = dict(vars(method))
    state = torch.get_rng_state()
    logits = method.predict(batches[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert vars(method) == before and not logits.requires_grad
    assert not any(p.requires_grad or p.grad is not None for p in parts.backbone.parameters())
