"""What a generator knows of layers and classes, as numbers for its networks to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

ENTRIES = 2**16
"""Entries of the classifier whose states are held at once: 8 MB of them at the default width."""


@dataclass(frozen=True)
class SourceEvidence:
    """What the source parameters say of some layers."""

    channels: torch.Tensor
    """γ and β of each channel in units of rms(γ), (ΣC, 2)."""
    layers: torch.Tensor
    """Depth, rms(β) in units of rms(γ), and batch size, (L, POSITIONS + 2)."""
    units: torch.Tensor
    """rms(γ), (L,)."""
    owner: torch.Tensor
    """The layer of each channel, (ΣC,)."""

    def split(self) -> list[SourceEvidence]:
        """Each layer's alone."""
        sizes = torch.bincount(self.owner, minlength=len(self.units)).tolist()
        parts = (torch.split(self.channels, sizes), torch.split(self.layers, 1), torch.split(self.units, 1))
        return [
            SourceEvidence(c, layer, u, torch.zeros_like(self.owner[: len(c)]))
            for c, layer, u in zip(*parts, strict=True)
        ]


@dataclass(frozen=True)
class Evidence:
    """What is known of layers or of k classes: of their channels or class-features, and as tokens."""

    items: torch.Tensor
    """(ΣC, F) or (k, D, F)"""
    states: torch.Tensor
    """The same through the shared network, (ΣC, h) or (k, D, h)."""
    tokens: torch.Tensor
    """(L, width) or (k, width), before the transformer."""


class ClassEvidence:
    """`Evidence` of K classes with D features each, some classes at a time.

    Thousands of classes have tens of millions of entries, each with a state of its own: they are made as they are
    needed, and again when they are needed again. A few classes are made once.

    Args:
        of: evidence of a slice of the classes.
        count: K.
        features: D.
    """

    def __init__(self, of: Callable[[slice], Evidence], count: int, features: int) -> None:
        # what is made again would be held all the same where gradients are recorded
        size = count if torch.is_grad_enabled() else max(1, ENTRIES // features)
        self.rows = [slice(start, min(start + size, count)) for start in range(0, count, size)]
        self._of = of
        self._whole = of(self.rows[0]) if len(self.rows) == 1 else None

    def parts(self) -> Iterator[tuple[slice, Evidence]]:
        """Every slice of the classes with its evidence."""
        for rows in self.rows:
            yield rows, self._whole or self._of(rows)

    def tokens(self) -> torch.Tensor:
        """Of all classes, (K, width)."""
        return torch.cat([part.tokens for _, part in self.parts()])


def per_channel(values: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
    """Rows of layers (L, ...) as rows of their channels (ΣC, ...), or as something that broadcasts to them."""
    return values if len(values) == 1 else values[owner]


def mean_by_owner(values: torch.Tensor, owner: torch.Tensor, layers: int) -> torch.Tensor:
    """Mean over the channels of each layer: (ΣC, F) -> (L, F)."""
    if layers == 1:
        return values.mean(dim=0, keepdim=True)
    total = values.new_zeros(layers, values.shape[1]).index_add(0, owner, values)
    means: torch.Tensor = total / torch.bincount(owner, minlength=layers)[:, None]
    return means


def pool_by_owner(values: torch.Tensor, owner: torch.Tensor, layers: int) -> torch.Tensor:
    """Mean and root mean square over the channels of each layer: (ΣC, h) -> (L, 2h)."""
    both = mean_by_owner(torch.cat([values, values.square()], dim=1), owner, layers)
    mean, square = both.chunk(2, dim=1)
    return torch.cat([mean, square.add(1e-6).sqrt()], dim=1)
