"""Reading image files into tensors of one size, and into batches.

An image becomes a uint8 tensor (3, S, S). `decoding.py` tells how files are decoded, and why one is skipped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageOps

from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.images.colour import require_visible, to_rgb
from gformer_cli.images.decoding import Skipped, attempt, decode, decode_to, describe, in_order, look_at_samples
from gformer_cli.images.depth import Depth

__all__ = [
    "Batch",
    "Decoded",
    "Preprocessing",
    "Skipped",
    "decode",
    "describe",
    "read_batches",
    "read_image",
    "read_images",
    "stack",
    "to_pixels",
    "to_rgb",
]


@dataclass(frozen=True)
class Preprocessing:
    """How a file becomes the network's input. Part of the bundle: it must be the same everywhere."""

    image_size: int
    resize: str
    """`crop`: shorter side to `image_size`, then the centre; `stretch`: both sides, ratio not kept."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    depth: Depth = field(default_factory=Depth, compare=False, repr=False)
    """What is black and white in images of more than 8 bits."""

    def among(self, domains: Sequence[Domain]) -> Preprocessing:
        """The same, where the folders that files lie in are known: deep images are read by what their folder holds."""
        return replace(self, depth=self.depth.among(domains, look_at_samples))

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, S, S) with values in [0, 1] to the network's input of the same shape."""
        mean = images.new_tensor(self.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.std).view(1, 3, 1, 1)
        return (images - mean) / std

    def network_input(self, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Decoded uint8 images (B, 3, S, S) to the network's float32 input on `device`."""
        if device.type == "cuda":  # from pinned memory the copy runs beside the work that is queued already
            pixels = pixels.pin_memory()
        return self.normalise(pixels.to(device, non_blocking=True).float() / 255.0)

    def pixels(self, inputs: torch.Tensor) -> torch.Tensor:
        """The network's input (..., 3, S, S) back to images, uint8 on the CPU."""
        mean, std = (inputs.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return ((inputs * std + mean) * 255.0).round().clamp(0.0, 255.0).to("cpu", torch.uint8)


@dataclass(frozen=True)
class Decoded:
    """A readable image: its pixels, uint8 (3, S, S), and the SHA-256 of the file's bytes."""

    file: ImageFile
    pixels: torch.Tensor
    digest: str


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """An RGB image to uint8 (3, S, S)."""
    size = preprocessing.image_size
    if preprocessing.resize == "crop":
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    elif image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def read_image(file: ImageFile, preprocessing: Preprocessing) -> Decoded | Skipped:
    """One image from disk, or the reason why it cannot be used."""

    def work(data: bytes) -> Decoded:
        pixels = decode_to(
            data,
            lambda image: to_pixels(require_visible(image), preprocessing),
            side=preprocessing.image_size,
            levels=partial(preprocessing.depth.of, file.path),
        )
        return Decoded(file, pixels, hashlib.sha256(data).hexdigest())

    return attempt(file, work)


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
