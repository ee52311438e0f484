"""`bn-mix` against equation 3 written out, and at its two limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from gformer_cli.methods import METHODS
from gformer_cli.methods.base import Parts
from gformer_cli.methods.bn_mix import MixedStatistics

Plain = Callable[[], nn.Module]


@pytest.mark.parametrize("prior_count", [1, 16])
def test_the_source_counts_as_so_many_images(
    parts: Parts, batches: list[torch.Tensor], plain: Plain, prior_count: int
) -> None:
    network = plain().eval().requires_grad_(False)

    def mix(layer: nn.BatchNorm2d, inputs: tuple[torch.Tensor, ...]) -> None:
        (x,) = inputs
        mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
        layer.running_mean = (prior_count * layer.running_mean + len(x) * mean) / (prior_count + len(x))
        layer.running_var = (prior_count * layer.running_var + len(x) * var) / (prior_count + len(x))

    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_pre_hook(mix)
    wanted = network(batches[0])
    torch.testing.assert_close(MixedStatistics(parts.backbone, prior_count=prior_count).predict(batches[0]), wanted)


def test_it_lies_between_batch_and_source_statistics(parts: Parts, batches: list[torch.Tensor]) -> None:
    def predict(prior_count: float) -> torch.Tensor:
        return MixedStatistics(parts.backbone, prior_count=prior_count).predict(batches[0])

    torch.testing.assert_close(predict(0), METHODS["bn"].from_parts(parts).predict(batches[0]))
    torch.testing.assert_close(predict(1e15), METHODS["source"].from_parts(parts).predict(batches[0]))
    assert torch.equal(MixedStatistics(parts.backbone).predict(batches[0]), predict(16))


def test_it_has_no_state(parts: Parts, batches: list[torch.Tensor]) -> None:
    method = MixedStatistics(parts.backbone)
    first = method.predict(batches[0])
    method.predict(batches[1])
    assert torch.equal(method.predict(batches[0]), first)
