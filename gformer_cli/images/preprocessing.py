"""Reading image files into tensors of one size, and into batches.

An image becomes a uint8 tensor (3, S, S). `decoding.py` tells how files are decoded, and why one is skipped.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.images.colour import require_visible, to_rgb
from gformer_cli.images.decoding import Skipped, attempt, decode, decode_to, describe, in_order, look_at_samples
from gformer_cli.images.depth import Depth, Kind, Levels
from gformer_cli.images.resizing import Resizing, resized
from gformer_cli.images.store import PixelStore, key_of
from gformer_cli.settings import DataSettings

__all__ = [
    "Batch",
    "Decoded",
    "Preprocessing",
    "Skipped",
    "decode",
    "describe",
    "pixels_of",
    "read_batches",
    "read_image",
    "read_images",
    "stack",
    "to_pixels",
    "to_rgb",
]

_GREY = (19595.0, 38470.0, 7471.0)
"""Shares of red, green and blue in grey, of 65536."""
_HALF = 32768.0


@dataclass(frozen=True)
class Preprocessing(Resizing):
    """How a file becomes the network's input. Part of the bundle: it must be the same everywhere.

    Decoded pixels are red, green and blue, whatever the network sees: `channels` is of its input alone.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Of the input's channels, in their order."""
    depth: Depth = field(default_factory=Depth, compare=False, repr=False)
    """What is black and white in images of more than 8 bits."""
    channels: str = field(default="rgb", kw_only=True)
    reading: str = field(default="upright", kw_only=True)
    reduced_jpeg: bool = field(default=True, kw_only=True)

    @classmethod
    def of(cls, data: DataSettings, depth: Depth) -> Preprocessing:
        """As the settings say, with `depth` for images of more than 8 bits."""
        told = {one.name: getattr(data, one.name) for one in fields(cls) if one.name != "depth"}
        return cls(**told, depth=depth)

    def among(self, domains: Sequence[Domain]) -> Preprocessing:
        """The same, where the folders that files lie in are known: deep images are read by what their folder holds."""
        return replace(self, depth=self.depth.among(domains, look_at_samples))

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """RGB images (B, 3, S, S) with values in [0, 1] to the network's input of the same shape."""
        mean, std = self._spread(images)
        return (self._to_channels(images) - mean) / std

    def network_input(self, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Decoded uint8 images (B, 3, S, S) to the network's float32 input on `device`."""
        if device.type == "cuda" and not pixels.is_pinned():  # from there the copy runs beside what is queued already
            pixels = pixels.pin_memory()
        return self.normalise(pixels.to(device, non_blocking=True).float() / 255.0)

    def images(self, inputs: torch.Tensor) -> torch.Tensor:
        """The network's input (..., 3, S, S) back to RGB, where black is 0 and white is 1; grey stays grey."""
        mean, std = self._spread(inputs)
        images = inputs * std + mean
        return images.flip(-3) if self.channels == "bgr" else images

    def pixels(self, inputs: torch.Tensor) -> torch.Tensor:
        """The network's input (..., 3, S, S) back to RGB images, uint8 on the CPU."""
        return (self.images(inputs) * 255.0).round().clamp(0.0, 255.0).to("cpu", torch.uint8)

    def _spread(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return like.new_tensor(self.mean).view(3, 1, 1), like.new_tensor(self.std).view(3, 1, 1)

    def _to_channels(self, images: torch.Tensor) -> torch.Tensor:
        if self.channels == "bgr":
            return images.flip(-3)
        if self.channels == "grey":
            # Pillow's arithmetic, in whole numbers that float32 holds: grey is made of images of 8 bits
            shares = images.new_tensor(_GREY).view(3, 1, 1)
            grey = ((images * 255.0).round() * shares).sum(-3, keepdim=True).add(_HALF).div(2 * _HALF).floor()
            return (grey / 255.0).expand_as(images)
        return images


@dataclass(frozen=True)
class Decoded:
    """A readable image: its pixels, uint8 (3, S, S), and the SHA-256 of the file's bytes."""

    file: ImageFile
    pixels: torch.Tensor
    digest: str


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """An RGB image to uint8 (3, S, S)."""
    image = resized(image, preprocessing)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def pixels_of(data: bytes, path: Path, preprocessing: Preprocessing) -> torch.Tensor:
    """An encoded image, the content of the file `path`, to uint8 (3, S, S). Raises whatever `decode_to` raises."""
    return decode_to(
        data,
        lambda image: to_pixels(require_visible(image), preprocessing),
        side=preprocessing.side if preprocessing.reduced_jpeg else None,
        levels=partial(preprocessing.depth.of, path),
        plain=preprocessing.reading == "plain",
    )


def read_image(file: ImageFile, preprocessing: Preprocessing, store: PixelStore | None = None) -> Decoded | Skipped:
    """One image from disk, or the reason why it cannot be used. What `store` keeps of its content is not decoded."""

    def work(data: bytes) -> Decoded:
        digest = hashlib.sha256(data).hexdigest()
        if store is None:
            return Decoded(file, pixels_of(data, file.path, preprocessing), digest)
        return Decoded(file, _stored(store, data, digest, file.path, preprocessing), digest)

    return attempt(file, work)


def _stored(store: PixelStore, data: bytes, digest: str, path: Path, preprocessing: Preprocessing) -> torch.Tensor:
    """`pixels_of` from `store`, which takes them in where it has not got them."""
    key = key_of(digest, preprocessing, preprocessing.reading, preprocessing.reduced_jpeg)
    shape = 3, preprocessing.image_size, preprocessing.image_size
    kept = store.get(key)
    if kept is not None and len(kept) == math.prod(shape):
        return torch.frombuffer(bytearray(kept), dtype=torch.uint8).view(shape)
    depth = _Asked(preprocessing.depth)
    pixels = pixels_of(data, path, replace(preprocessing, depth=depth))
    if not depth.asked:  # else they depend on the folder as well
        store.put(key, pixels.numpy().tobytes())
    return pixels


class _Asked(Depth):
    """The levels that another one gives, and whether it was asked for any."""

    def __init__(self, depth: Depth) -> None:
        self._depth = depth
        self.asked = False

    def of(self, path: Path, kind: Kind) -> Levels | None:
        self.asked = True
        return self._depth.of(path, kind)


def read_images(
    files: Iterable[ImageFile], preprocessing: Preprocessing, *, workers: int
) -> Iterator[Decoded | Skipped]:
    """Every file of `files`, in order, decoded at most `8 * workers` ahead; with 0 workers in this thread."""
    return in_order(partial(read_image, preprocessing=preprocessing), files, workers=workers)


@dataclass(frozen=True)
class Batch:
    """Images of one condition that are predicted together: pixels uint8 (B, 3, S, S). No labels in it."""

    pixels: torch.Tensor
    files: tuple[ImageFile, ...]
    digests: tuple[str, ...]
    """SHA-256 of each file's bytes."""


def read_batches(
    files: Sequence[ImageFile],
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    workers: int,
    skipped: list[Skipped],
) -> Iterator[Batch]:
    """Batches of `batch_size` readable images in the order of `files`; the last may be smaller.

    What cannot be read is appended to `skipped`, and the batch is filled from the images that follow.
    """
    waiting: list[Decoded] = []
    for item in read_images(files, preprocessing, workers=workers):
        if isinstance(item, Skipped):
            skipped.append(item)
            continue
        waiting.append(item)
        if len(waiting) == batch_size:
            yield stack(waiting)
            waiting = []
    if waiting:
        yield stack(waiting)


def stack(items: Sequence[Decoded]) -> Batch:
    """Decoded images as one batch."""
    return Batch(
        torch.stack([item.pixels for item in items]),
        tuple(item.file for item in items),
        tuple(item.digest for item in items),
    )
