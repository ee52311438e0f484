"""Fifty files of all kinds made from two real photographs, which scikit-learn ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

SIZES = (
    *((640, 427), (427, 640), (224, 224), (225, 224), (256, 256), (257, 255), (231, 233), (301, 200), (97, 97)),
    *((223, 223), (63, 64), (50, 333), (333, 50), (640, 100), (12, 400), (3, 7), (1, 1), (2, 1), (400, 399), (65, 500)),
)
MODES = ("RGB", "L", "P", "RGBA", "CMYK", "LA", "1")
LARGE = ((1400, 1100), (1101, 1503))
"""JPEGs that would be decoded at half their size."""


def make_photographs(folder: Path) -> list[Path]:
    """Crops and enlargements of many sizes: JPEGs, some of which EXIF turns, and PNGs of every mode."""
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    made = []
    for number in range(48):
        image = _cut(photographs[number % 2], SIZES[number % len(SIZES)], number)
        mode = "RGB" if number % 3 == 0 else MODES[number % len(MODES)]
        as_jpeg = mode in ("CMYK", "L") or (mode == "RGB" and number % 2 == 0)
        made.append(_save(_as(image, mode, number), folder / f"{number:02d}.{'jpg' if as_jpeg else 'png'}"))
    for number, size in enumerate(LARGE):
        made.append(_save(photographs[number].resize(size), folder / f"large-{number}.jpg"))
    return made


def _cut(image: Image.Image, size: tuple[int, int], number: int) -> Image.Image:
    if size[0] > image.width or size[1] > image.height:
        return image.resize(size)
    left, top = number * 7 % (image.width - size[0] + 1), number * 5 % (image.height - size[1] + 1)
    return image.crop((left, top, left + size[0], top + size[1]))


def _as(image: Image.Image, mode: str, seed: int) -> Image.Image:
    if mode == "P":
        return image.quantize(200)
    converted = image.convert(mode)
    if "A" in mode:
        shape = (image.height, image.width)
        converted.putalpha(Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)))
    return converted


def _save(image: Image.Image, path: Path) -> Path:
    options: dict[str, Any] = {}
    if path.suffix == ".jpg":
        turned = Image.Exif()
        turned[0x0112] = 6
        options = {"exif": turned, "quality": 90}
    elif image.mode == "P":
        options = {"transparency": bytes(range(200))}
    image.save(path, **options)
    return path
