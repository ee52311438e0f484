"""`rotated-mnist`: the paper's setting. The angle is the domain; 0 and 90 degrees are never trained on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from gformer_cli.data.demo.digits import DemoImage, Digits, mnist_digits

SOURCE_ANGLES = (15, 30, 45, 60, 75)
TARGET_ANGLES = (0, 90)
SOURCE_DIGITS = 1000
"""Shared by all source angles."""
TARGET_DIGITS = 2000
"""Disjoint from the source digits, divided between the target angles."""


def render(seed: int) -> Iterator[DemoImage]:
    """Every image of the data set; the same `seed` picks the same digits."""
    half = TARGET_DIGITS // len(TARGET_ANGLES)
    source, *targets = mnist_digits(seed).split(SOURCE_DIGITS, *[half] * len(TARGET_ANGLES))
    for angle in SOURCE_ANGLES:
        yield from _rotated("sources", angle, source)
    for angle, digits in zip(TARGET_ANGLES, targets, strict=True):
        yield from _rotated("targets", angle, digits)


def _rotated(role: str, angle: int, digits: Digits) -> Iterator[DemoImage]:
    for number, label, digit in zip(digits.numbers, digits.labels, digits.images, strict=True):
        picture = Image.fromarray((digit * 255.0).astype(np.uint8))
        turned = picture.rotate(angle, Image.Resampling.BILINEAR)
        pixels = np.asarray(turned, dtype=np.float64) / 255.0
        yield DemoImage(role, f"angle-{angle:02d}", str(label), f"mnist-{number:04d}", pixels)
