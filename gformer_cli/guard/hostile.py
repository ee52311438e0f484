"""Hostile batches: what reaches a camera's model and is none of its business.

Images are uint8 (B, 3, S, S), as they are decoded. `HOSTILE` calibrates the guard; `UNSEEN` is for measuring it
on what calibration never met.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Floats = NDArray[np.float64]
Maker = Callable[[int, int, np.random.Generator], Floats]
"""From a count, a side and a random generator to levels (count, side, side, 1 or 3) in [0, 255]."""


def hostile_batch(kind: str, count: int, side: int, seed: int) -> torch.Tensor:
    """uint8 (count, 3, side, side) of one of `HOSTILE` or `UNSEEN`; the same arguments give the same pixels."""
    maker = HOSTILE.get(kind) or UNSEEN[kind]
    levels = maker(count, side, np.random.default_rng(seed))
    pixels = np.broadcast_to(levels, (count, side, side, 3)).clip(0.0, 255.0).round().astype(np.uint8)
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).contiguous()


def _black(count: int, side: int, rng: np.random.Generator) -> Floats:
    """A covered lens or a dead sensor: black, with a little read-out noise."""
    return rng.normal(rng.uniform(0.0, 6.0), rng.uniform(0.0, 3.0), (count, side, side, 3))


def _white(count: int, side: int, rng: np.random.Generator) -> Floats:
    """An overexposed sensor."""
    return 255.0 - _black(count, side, rng)


def _plain(count: int, side: int, rng: np.random.Generator) -> Floats:
    """One colour an image: an empty screen, a blue picture of a player without a signal."""
    return rng.uniform(0.0, 255.0, (count, 1, 1, 3)) * np.ones((1, side, side, 1))


def _static(count: int, side: int, rng: np.random.Generator) -> Floats:
    """A receiver without a signal: every value is equally likely."""
    return rng.uniform(0.0, 255.0, (count, side, side, 3))


def _noise(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Normal noise around a grey, in colour or not."""
    shape = (count, side, side, int(rng.choice((1, 3))))
    return rng.normal(rng.uniform(60.0, 200.0), rng.uniform(20.0, 80.0), shape)


def _text(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Pages of text, as a scanner or a screenshot gives them."""
    letters = np.array([*string.ascii_letters, *"      "])
    pages = []
    for _ in range(count):
        size = max(96, 2 * side)
        page = Image.new("L", (size, size), 255)
        pen = ImageDraw.Draw(page)
        for line in range(4, size - 8, 13):
            pen.text((4, line), "".join(rng.choice(letters, size // 5)), fill=0)
        pages.append(np.asarray(page.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float64))
    return np.stack(pages)[..., None]


def _pattern(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Test patterns: stripes and checks of one width."""
    down, across = np.mgrid[:side, :side]
    images = []
    for _ in range(count):
        width = int(rng.integers(1, max(2, side // 5)))
        cells = across // width + (down // width if rng.random() < 0.5 else 0)
        images.append((cells % 2)[..., None] * rng.uniform(100.0, 255.0, 3))
    return np.stack(images)


def _ramp(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Smooth gradients: an empty wall, the sky."""
    down, across = np.mgrid[:side, :side] / side
    images = []
    for _ in range(count):
        angle = rng.uniform(0.0, 2.0 * np.pi)
        slope = np.cos(angle) * across + np.sin(angle) * down
        images.append(((slope - slope.min()) / np.ptp(slope))[..., None] * rng.uniform(60.0, 255.0, 3))
    return np.stack(images)


def _code(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Cells of black and white, as in a printed code."""
    return _tiled(rng.integers(0, 2, (count, 8, 8, 1)) * 255.0, side)


def _clouds(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Noise whose amplitude falls with frequency as in photographs, with nothing in it."""
    down, across = np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side), indexing="ij")
    falls = 1.0 / np.maximum(np.hypot(down, across), 1.0 / side)
    spectrum = np.fft.fft2(rng.normal(size=(count, 3, side, side))) * falls
    clouds = np.fft.ifft2(spectrum).real
    clouds = clouds / clouds.std(axis=(2, 3), keepdims=True)
    return np.asarray(128.0 + 50.0 * clouds.transpose(0, 2, 3, 1))


def _dropouts(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Salt and pepper on grey: most of a transmission is lost."""
    draw = rng.uniform(size=(count, side, side, 1))
    return np.where(draw < 0.4, 0.0, np.where(draw > 0.6, 255.0, 128.0))


def _blobs(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Lights far out of focus: soft spots on black."""
    down, across = np.mgrid[:side, :side] / side
    images = np.zeros((count, side, side, 3))
    for number in range(count):
        for _ in range(int(rng.integers(2, 7))):
            y, x, radius = rng.uniform(0.0, 1.0), rng.uniform(0.0, 1.0), rng.uniform(0.08, 0.3)
            spot = np.exp(-((down - y) ** 2 + (across - x) ** 2) / (2.0 * radius**2))
            images[number] += spot[..., None] * rng.uniform(80.0, 255.0, 3)
    return images


def _tiled(cells: NDArray[np.floating[Any]], side: int) -> Floats:
    """Cells (count, n, n, channels) drawn as tiles of (count, side, side, channels)."""
    index = np.arange(side) * cells.shape[1] // side
    return np.asarray(cells[:, index][:, :, index])


def _mosaic(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Tiles of random colours: a broken stream."""
    tiles = int(rng.integers(3, 7))
    return _tiled(rng.uniform(0.0, 255.0, (count, tiles, tiles, 3)), side)


def _rings(count: int, side: int, rng: np.random.Generator) -> Floats:
    """Circles about a point: interference, a tyre, a tree."""
    down, across = np.mgrid[:side, :side] / side
    images = []
    for _ in range(count):
        away = np.hypot(down - rng.uniform(0.0, 1.0), across - rng.uniform(0.0, 1.0))
        waves = 0.5 + 0.5 * np.sin(2.0 * np.pi * rng.uniform(2.0, 8.0) * away)
        images.append(waves[..., None] * rng.uniform(100.0, 255.0, 3))
    return np.stack(images)


def _smear(count: int, side: int, rng: np.random.Generator) -> Floats:
    """A line sensor that hangs: one line of pixels again and again."""
    line = np.repeat(rng.uniform(0.0, 255.0, (count, 1, -(-side // 2), 3)), 2, axis=2)[:, :, :side]
    return np.asarray(np.broadcast_to(line, (count, side, side, 3)) + rng.normal(0.0, 4.0, (count, side, side, 3)))


HOSTILE: dict[str, Maker] = {
    "black": _black,
    "white": _white,
    "plain": _plain,
    "static": _static,
    "noise": _noise,
    "text": _text,
    "pattern": _pattern,
    "ramp": _ramp,
}
UNSEEN: dict[str, Maker] = {
    "code": _code,
    "clouds": _clouds,
    "dropouts": _dropouts,
    "blobs": _blobs,
    "mosaic": _mosaic,
    "rings": _rings,
    "smear": _smear,
}
