"""`unmix-tns`: its layer by hand, and what each setting does."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gformer_cli.methods.base import Parts
from gformer_cli.methods.unmix_tns import Unmixing, UnMixTNS
from gformer_cli.networks.norms import AdaptiveBatchNorm1d, AdaptiveBatchNorm2d


def _norm(components: int, momentum: float = 0.5) -> Unmixing:
    layer = AdaptiveBatchNorm2d(2, eps=0.0).double()
    layer.running_mean.copy_(torch.tensor([1.0, -2.0]))
    layer.running_var.copy_(torch.tensor([4.0, 9.0]))
    return Unmixing(layer, components, momentum, torch.Generator().manual_seed(0))


def test_an_image_is_normalised_by_the_even_mixture_and_moves_the_components() -> None:
    norm = _norm(2)
    norm.means = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    norm.variances = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    input = torch.tensor([[[2.0, 4.0], [3.0, 3.0]], [[0.0, 0.0], [1.0, 5.0]]], dtype=torch.float64)
    own = [([3.0, 3.0], [1.0, 0.0]), ([0.0, 3.0], [0.0, 4.0])]  # mean and variance over two positions
    moved_means = [[0.0, 0.0], [0.0, 0.0]]
    moved_variances = [[0.0, 0.0], [0.0, 0.0]]
    wanted = torch.empty_like(input)
    for b, (m, s) in enumerate(own):
        cosines = [m[0] / math.hypot(*m), m[1] / math.hypot(*m)]
        shares = [math.exp(c / 0.07) for c in cosines]
        shares = [share / sum(shares) for share in shares]
        for c in range(2):
            mixed = [(1 - p) * norm.means[k, c].item() + p * m[c] for k, p in enumerate(shares)]
            inner = [(1 - p) * norm.variances[k, c].item() + p * s[c] for k, p in enumerate(shares)]
            mean = sum(mixed) / 2
            variance = sum(inner) / 2 + sum(x * x for x in mixed) / 2 - mean * mean
            wanted[b, c] = (input[b, c] - mean) / math.sqrt(variance)
            for k, p in enumerate(shares):
                moved_means[k][c] += p * (m[c] - norm.means[k, c].item()) / 2
                moved_variances[k][c] += p * (s[c] - norm.variances[k, c].item()) / 2
    rate = 1 - 0.5 ** (2 / 64)
    means, variances = (
        norm.means + rate * torch.tensor(moved_means),
        norm.variances + rate * torch.tensor(moved_variances),
    )
    torch.testing.assert_close(norm.normalised(input), wanted)
    torch.testing.assert_close(norm.means, means, rtol=0.0, atol=1e-7)
    torch.testing.assert_close(norm.variances, variances, rtol=0.0, atol=1e-7)


def test_at_the_start_the_mixture_of_many_components_is_the_source() -> None:
    norm = _norm(4000)
    mean, inner = norm.means.mean(dim=0), norm.variances.mean(dim=0)
    torch.testing.assert_close(mean, norm.layer.running_mean.double(), rtol=0.0, atol=0.2)  # 0.05 is one standard error
    whole = inner + norm.means.var(dim=0, correction=0)
    torch.testing.assert_close(whole, norm.layer.running_var.double(), rtol=0.05, atol=0.0)
    assert torch.equal(inner, 0.5 * norm.layer.running_var)


def test_one_component_is_the_source_and_the_image_has_all_of_it() -> None:
    norm = _norm(1)
    assert torch.equal(norm.means[0], norm.layer.running_mean)
    assert torch.equal(norm.variances[0], norm.layer.running_var)


def test_features_without_positions_keep_the_source_statistics() -> None:
    layer = AdaptiveBatchNorm1d(2, eps=0.0).double().eval()
    norm = Unmixing(layer, 4, 0.5, torch.Generator().manual_seed(0))
    before = norm.means
    features = torch.tensor([[3.0, -1.0]], dtype=torch.float64)
    assert torch.equal(norm(features), features) and norm.means is before


@pytest.mark.parametrize(
    "setting", [{"components": 4}, {"momentum": 0.5}, {"seed": 1}], ids=lambda setting: next(iter(setting))
)
def test_each_keyword_has_an_effect(parts: Parts, batches: list[torch.Tensor], setting: dict[str, Any]) -> None:
    usual, changed = UnMixTNS(parts.backbone), UnMixTNS(parts.backbone, **setting)
    one, two = (torch.stack([method.predict(batch) for batch in batches]) for method in (usual, changed))
    assert not torch.equal(one, two)
