"""What may happen to the pixels of images: operations with plain numbers as parameters and nothing random.

`shifts.py` draws their parameters at random, `corruptions.py` sets them by severity. Images are float (B, C, H, W) in
[0, 1]; a result may lie outside, for the caller to clamp.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

_MOST_TAPS = 64 * 64
"""Of a filter that is applied pixel by pixel: photographs of many million pixels have larger ones."""


def contrast(images: torch.Tensor, factor: float, middle: torch.Tensor | float) -> torch.Tensor:
    """Distances to the grey level `middle` (a number, or of a shape that broadcasts) times `factor`."""
    return middle + (images - middle) * factor


def colour_cast(images: torch.Tensor, gains: Sequence[float]) -> torch.Tensor:
    """Each of the channels times its own gain."""
    return images * images.new_tensor(gains).view(1, -1, 1, 1)


def shot_noise(images: torch.Tensor, photons: float, normal: torch.Tensor) -> torch.Tensor:
    """A sensor that counts `photons` at white: Poisson noise in its normal approximation.

    `normal` holds standard normal draws in the shape of the images.
    """
    return images + (images.clamp_min(0.0) / photons).sqrt() * normal


def affine(
    images: torch.Tensor,
    *,
    angle: float = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
    move: tuple[float, float] = (0.0, 0.0),
) -> torch.Tensor:
    """Another view of images; what lies outside them repeats their edge.

    The view is turned by `angle` in radians, `scale` times as wide, slanted by `shear` and moved by (x, y) in half
    sides. The picture in it does the opposite: a scale above 1 shows it smaller.
    """
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    wide = images.shape[-1] / images.shape[-2]  # lengths across are told in half widths, lengths down in half heights
    matrix = images.new_tensor([[cos, (shear * cos - sin) / wide, move[0]], [sin * wide, shear * sin + cos, move[1]]])
    grid = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def vignette(images: torch.Tensor, strength: float, centre: tuple[float, float]) -> torch.Tensor:
    """Light that falls off from `centre` (down, across), each from -1 to 1, by exp(-strength · distance²)."""
    height, width = images.shape[-2:]
    down = torch.linspace(-1.0, 1.0, height, device=images.device)[:, None] - centre[0]
    across = torch.linspace(-1.0, 1.0, width, device=images.device)[None, :] - centre[1]
    return images * torch.exp(-strength * (down**2 + across**2))


def pixelate(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Images shown with `size` (height, width) pixels only; the shape is kept."""
    return F.interpolate(F.interpolate(images, size=size, mode="area"), size=images.shape[-2:], mode="nearest")


def posterise(images: torch.Tensor, levels: int) -> torch.Tensor:
    """Each channel rounded to one of `levels` values, the first 0 and the last 1."""
    posterised: torch.Tensor = (images.clamp(0.0, 1.0) * (levels - 1)).round() / (levels - 1)
    return posterised


def convolve(images: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Each channel filtered with `taps` (h, w), both odd, as `F.conv2d` does; edges repeated, size kept."""
    channels, (height, width) = images.shape[1], taps.shape
    padded = F.pad(images, (width // 2, width // 2, height // 2, height // 2), mode="replicate")
    if taps.numel() <= _MOST_TAPS:
        return F.conv2d(padded, taps.expand(channels, 1, height, width), groups=channels)
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(taps, s=size).conj()
    filtered: torch.Tensor = torch.fft.irfft2(spectrum, s=size)
    return filtered[..., : images.shape[-2], : images.shape[-1]]
