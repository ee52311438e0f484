"""What a generator knows of layers and classes, as numbers for its networks to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch

from gformer_cli.core.statistics import mean_by_layer

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
    """The layer of each channel, (ΣC,); without meaning for one layer alone."""
    sizes: tuple[int, ...]
    """Channels of each layer: numbers, not a tensor, so that shapes stay known where a graph is made of this."""

    def part(self, layers: range) -> SourceEvidence:
        """That of one layer alone, or of all."""
        return self if len(layers) == len(self.sizes) else self._single[layers.start]

    @cached_property
    def _single(self) -> list[SourceEvidence]:
        # made at once: a pass asks for every layer in turn, and small operations are what it costs
        parts = torch.split(self.channels, list(self.sizes)), torch.split(self.layers, 1), torch.split(self.units, 1)
        return [
            SourceEvidence(channels, layer, unit, self.owner, (size,))
            for channels, layer, unit, size in zip(*parts, self.sizes, strict=True)
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


def pool_by_layer(values: torch.Tensor, source: SourceEvidence) -> torch.Tensor:
    """Mean and root mean square over the channels of each layer: (ΣC, h) -> (L, 2h)."""
    both = mean_by_layer(torch.cat([values, values.square()], dim=1), source.owner, source.sizes)
    mean, square = both.chunk(2, dim=1)
    return torch.cat([mean, square.add(1e-6).sqrt()], dim=1)
