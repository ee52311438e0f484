"""Statistics of channels: what a layer saw of some images, pooled with others', and how far from the source's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Statistics:
    """What one layer saw of some images, all of one size."""

    count: int
    """Images."""
    mean: torch.Tensor
    """(C,)"""
    variance: torch.Tensor
    """Biased, (C,)."""


def pool(parts: Sequence[Statistics]) -> Statistics:
    """The statistics of all images of `parts` together: exact, by the law of total variance."""
    count = sum(part.count for part in parts)
    shares = [part.count / count for part in parts]
    mean = torch.stack([share * part.mean for share, part in zip(shares, parts, strict=True)]).sum(dim=0)
    spread = [share * (part.variance + (part.mean - mean).square()) for share, part in zip(shares, parts, strict=True)]
    return Statistics(count, mean, torch.stack(spread).sum(dim=0))


def statistic_shift(
    source: tuple[torch.Tensor, torch.Tensor], batch: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """How far a batch's statistics lie from the source's: (mean, variance) of C channels each, to two tensors (C,).

    The first is the difference of the means in source standard deviations, the second the logarithm of the ratio
    of the standard deviations; both pass through asinh, so that a dead channel cannot drown the others.
    """
    (mean_s, var_s), (mean, var) = source, batch
    moved = torch.asinh((mean - mean_s) * (var_s + 1e-5).rsqrt())
    return moved, torch.asinh(0.5 * ((var + 1e-5) / (var_s + 1e-5)).log())


def owners(sizes: Sequence[int], device: torch.device) -> torch.Tensor:
    """The layer of each channel, (ΣC,), for layers of `sizes` channels."""
    return torch.cat([torch.full((size,), layer, device=device) for layer, size in enumerate(sizes)])


def mean_by_layer(values: torch.Tensor, owner: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Mean over the channels of each layer: (ΣC, F) to (L, F), for layers of `sizes` channels."""
    if len(sizes) == 1:
        return values.mean(dim=0, keepdim=True)
    total = values.new_zeros(len(sizes), values.shape[1]).index_add(0, owner, values)
    return total / values.new_tensor(sizes)[:, None]
