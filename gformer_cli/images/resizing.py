"""RGB images of any size to square ones, in the arithmetic of this program, of torchvision or of timm, to the pixel."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image, ImageOps

from gformer_cli.images.colour import Refused

_LARGEST = 64_000_000
"""Pixels of the largest image that another is resized to: one that is long and very narrow would become a giant."""


@dataclass(frozen=True)
class Resizing:
    """How an image of any size becomes one of `image_size` x `image_size`. See `DataSettings` for the fields."""

    image_size: int
    resize: str
    resize_size: int | None = field(default=None, kw_only=True)
    interpolation: str = field(default="bilinear", kw_only=True)
    antialias: bool = field(default=True, kw_only=True)
    fill: tuple[int, int, int] = field(default=(0, 0, 0), kw_only=True)
    centre_rounding: str = field(default="even", kw_only=True)

    @property
    def side(self) -> int:
        """What the shorter side is resized to, or less than that."""
        return self.resize_size or self.image_size


def resized(image: Image.Image, how: Resizing) -> Image.Image:
    """An RGB image as `how` says. Raises `Refused` for one so narrow that no memory would hold what it becomes."""
    if how.resize == "pad":
        return _centre(_scaled(image, _longer_side(image, how.side), how), how)
    if how.resize == "stretch":
        return _centre(_scaled(image, (how.side, how.side), how), how)
    if how.resize_size is not None:
        return _centre(_scaled(image, _shorter_side(image, how.resize_size), how), how)
    size = (how.image_size, how.image_size)
    if how.antialias:
        return ImageOps.fit(image, size, _filter(how))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return _scaled(image.crop((left, top, left + side, top + side)), size, how)


def _shorter_side(image: Image.Image, side: int) -> tuple[int, int]:
    """Width and height of the image at that shorter side, rounded down as torchvision does."""
    longer = int(side * max(image.size) / min(image.size))
    return (side, longer) if image.width <= image.height else (longer, side)


def _longer_side(image: Image.Image, side: int) -> tuple[int, int]:
    """Width and height of the image at that longer side, rounded as timm does; never without a pixel."""
    ratio = max(image.size) / side
    return max(1, round(image.width / ratio)), max(1, round(image.height / ratio))


def _scaled(image: Image.Image, size: tuple[int, int], how: Resizing) -> Image.Image:
    if image.size == size:
        return image
    if size[0] * size[1] > _LARGEST:
        raise Refused(f"too narrow: {image.width} x {image.height} would be resized to {size[0]} x {size[1]}")
    return image.resize(size, _filter(how)) if how.antialias else _sampled(image, size, how)


def _sampled(image: Image.Image, size: tuple[int, int], how: Resizing) -> Image.Image:
    """Resized as torchvision resizes uint8 tensors without smoothing."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    made: torch.Tensor = resize(pixels, [size[1], size[0]], InterpolationMode(how.interpolation), antialias=False)
    return Image.fromarray(made.permute(1, 2, 0).contiguous().numpy())


def _filter(how: Resizing) -> Image.Resampling:
    return Image.Resampling[how.interpolation.upper()]


def _centre(image: Image.Image, how: Resizing) -> Image.Image:
    """The middle of an image; where the image is smaller, it lies in the middle of `fill`."""
    size = how.image_size
    if min(image.size) < size:
        wide = Image.new("RGB", (max(image.width, size), max(image.height, size)), how.fill)
        wide.paste(image, (max(size - image.width, 0) // 2, max(size - image.height, 0) // 2))
        image = wide
    if image.size == (size, size):
        return image
    left, top = (
        (length - size) // 2 if how.centre_rounding == "down" else round((length - size) / 2) for length in image.size
    )
    return image.crop((left, top, left + size, top + size))
