"""Resizing and normalisation in tensors, so that a graph takes images of any size as they are decoded.

Resizing is linear in the pixels: a matrix on each axis, made of the image's size. Its weights are Pillow's, rounded to
multiples of 2^-15. Sums of so few bits are exact in float32 in any order, so that every runtime gives the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gformer_cli.errors import InputError
from gformer_cli.export.graphs import AdaptedGraph, SourceGraph
from gformer_cli.images.preprocessing import Preprocessing

_STEPS = 2.0**15
_FILTERS = ("bilinear", "bicubic")
_CUBIC = -0.5
"""Pillow's parameter of the bicubic filter."""
Axis = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Of the resized image, float64 scalars: where its first pixel begins in the image, how many pixels of the image one of
its own covers, its length, and which of its own pixels is the first one of the input (below 0: it is padded)."""


def check_preprocessing(how: Preprocessing) -> None:
    """Raises `InputError` for what is not made in a graph."""
    if how.interpolation not in _FILTERS or not how.antialias:
        kind = how.interpolation + ("" if how.antialias else " without antialias")
        raise InputError(
            f"--with-preprocessing resizes {' or '.join(_FILTERS)}, with antialias; this model wants {kind}",
            "Export it without, and prepare the images where they are read.",
        )


class Resized(nn.Module):
    """uint8 images (B, H, W, 3) of any size to (B, 3, S, S) in float32 with whole values, as `to_pixels` makes them.

    By rounding, a pixel may differ from Pillow's by one level.
    """

    def __init__(self, how: Preprocessing) -> None:
        super().__init__()
        check_preprocessing(how)
        self.how = how

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        how, size = self.how, self.how.image_size
        height, width = images.shape[1], images.shape[2]
        lengths = tuple(torch.scalar_tensor(length, dtype=torch.float64) for length in (height, width))
        down, across = self._axes(*lengths)
        levels = images.permute(0, 3, 1, 2).float()
        levels = _whole(levels @ self._weights(across, width).t())  # (B, 3, H, S): Pillow's order
        levels = _whole(self._weights(down, height) @ levels)
        if how.resize == "pad" or (how.resize_size or size) < size:
            inside = _inside(down, size)[:, None] & _inside(across, size)[None]
            levels = torch.where(inside, levels, levels.new_tensor(how.fill).view(3, 1, 1))
        return levels

    def _axes(self, height: torch.Tensor, width: torch.Tensor) -> tuple[Axis, Axis]:
        """How `images.resizing` places rows and columns."""
        how, lengths = self.how, (height, width)
        shorter, longer = torch.minimum(height, width), torch.maximum(height, width)
        nothing = torch.zeros_like(height)
        if how.resize == "crop" and how.resize_size is None:
            size = torch.full_like(height, how.image_size)
            made = [((length - shorter) * 0.5, shorter / size, size, nothing) for length in lengths]
            return made[0], made[1]
        if how.resize == "stretch":
            scaled = [torch.full_like(height, how.side)] * 2
        elif how.resize == "pad":
            scaled = [(length / (longer / how.side)).round().clamp_min(1.0) for length in lengths]
        else:
            most = (how.side * longer / shorter).floor()
            scaled = [torch.where(length == shorter, torch.full_like(length, how.side), most) for length in lengths]
        both = [(nothing, length / size, size, self._first(size)) for length, size in zip(lengths, scaled, strict=True)]
        return both[0], both[1]

    def _first(self, length: torch.Tensor) -> torch.Tensor:
        """The first pixel of the middle of so many; below 0 where there are fewer than the input has."""
        size = self.how.image_size
        over = (length - size) / 2.0
        cut = over.floor() if self.how.centre_rounding == "down" else over.round()
        return torch.where(length < size, -((size - length) / 2.0).floor(), cut)

    def _weights(self, axis: Axis, length: int) -> torch.Tensor:
        """(S, length)"""
        begin, scale, _, first = axis
        stretch = scale.clamp_min(1.0)
        centres = begin + (first + torch.arange(self.how.image_size, dtype=torch.float64) + 0.5) * scale
        places = torch.arange(length, dtype=torch.float64) + 0.5
        weights = self._filter((places[None] - centres[:, None]).abs() / stretch)
        shares = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-12)
        return ((shares * _STEPS).round() / _STEPS).float()

    def _filter(self, away: torch.Tensor) -> torch.Tensor:
        """Of distances from 0 up."""
        if self.how.interpolation == "bilinear":
            return (1.0 - away).clamp_min(0.0)
        near = ((_CUBIC + 2.0) * away - (_CUBIC + 3.0)) * away * away + 1.0
        far = (((away - 5.0) * away + 8.0) * away - 4.0) * _CUBIC
        return torch.where(away < 1.0, near, torch.where(away < 2.0, far, torch.zeros_like(far)))


def _whole(levels: torch.Tensor) -> torch.Tensor:
    return (levels + 0.5).floor().clamp(0.0, 255.0)


def _inside(axis: Axis, size: int) -> torch.Tensor:
    """(S,) whether a pixel of the input lies in the resized image."""
    _, _, length, first = axis
    place = first + torch.arange(size, dtype=torch.float64)
    return (place >= 0.0) & (place < length)


class PreparingGraph(nn.Module):
    """Another graph, from uint8 images (B, H, W, 3) of any size on."""

    def __init__(self, graph: SourceGraph | AdaptedGraph, how: Preprocessing) -> None:
        super().__init__()
        self.answering = graph  # torch's exporter keeps the name `graph` for itself
        self.resized = Resized(how)
        self.how = how

    @property
    def outputs(self) -> Sequence[str]:
        return self.answering.outputs

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answers: tuple[torch.Tensor, ...] = self.answering(self.how.normalise(self.resized(images) / 255.0))
        return answers
