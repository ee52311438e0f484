"""Reading image files: decode, bring to one size, and say why where that fails.

An image becomes a uint8 tensor (3, S, S). Decoding runs in threads (Pillow releases the interpreter lock)
a bounded number of images ahead of the consumer, so that memory does not grow with the folder.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from gformer_cli.data.folders import ImageFile


@dataclass(frozen=True)
class Preprocessing:
    """How a file becomes the network's input. Part of the bundle: it must be the same everywhere."""

    image_size: int
    resize: str
    """`crop`: shorter side to `image_size`, then the centre; `stretch`: both sides, ratio not kept."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, S, S) with values in [0, 1] to the network's input of the same shape."""
        mean = images.new_tensor(self.mean).view(1, 3, 1, 1)
        std = images.new_tensor(self.std).view(1, 3, 1, 1)
        return (images - mean) / std

    def network_input(self, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Decoded uint8 images (B, 3, S, S) to the network's float32 input on `device`."""
        return self.normalise(pixels.to(device).float() / 255.0)


@dataclass(frozen=True)
class Skipped:
    """An image that could not be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Decoded:
    """A readable image: its pixels, uint8 (3, S, S), and the SHA-256 of the file's bytes."""

    file: ImageFile
    pixels: torch.Tensor
    digest: str


def decode(data: bytes) -> Image.Image:
    """The first frame of an encoded image as upright 8-bit RGB.

    EXIF rotation is applied, 16-bit and float grey is scaled to 8 bit, transparent parts become white.
    Raises whatever Pillow raises for broken data; a truncated image is broken.
    """
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to 8-bit RGB without clipping high bit depths."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        # 16-bit files open as mode I or I;16 depending on the format; floats are taken as 0..1 or 0..255
        top = 65535.0 if values.max(initial=0.0) > 255.0 else 255.0 if values.max(initial=0.0) > 1.0 else 1.0
        image = Image.fromarray((np.clip(values / top, 0.0, 1.0) * 255.0).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


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
    try:
        data = file.path.read_bytes()
        if not data:
            return Skipped(file.relative, "the file is empty")
        pixels = to_pixels(decode(data), preprocessing)
    except Exception as error:  # Pillow's decoders raise many kinds; none of them may end a long run
        return Skipped(file.relative, describe(error, file.path))
    return Decoded(file, pixels, hashlib.sha256(data).hexdigest())


def describe(error: Exception, path: Path) -> str:
    """A short reason without the file's own path (which is told beside it) or memory addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image that Pillow can read"
    text = str(error).replace(str(path), "").strip() or type(error).__name__
    return text.splitlines()[0]


def read_images(
    files: Iterable[ImageFile], preprocessing: Preprocessing, *, workers: int
) -> Iterator[Decoded | Skipped]:
    """Every file of `files`, in order, decoded at most `8 * workers` ahead. `workers` 0 reads in this thread."""
    if workers == 0:
        for file in files:
            yield read_image(file, preprocessing)
        return
    waiting: deque[Future[Decoded | Skipped]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for file in files:
                waiting.append(pool.submit(read_image, file, preprocessing))
                if len(waiting) >= 8 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True)
class Batch:
    """Images of one condition that are predicted together: pixels uint8 (B, 3, S, S). No labels in it."""

    pixels: torch.Tensor
    files: tuple[ImageFile, ...]


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
            yield _stack(waiting)
            waiting = []
    if waiting:
        yield _stack(waiting)


def _stack(items: Sequence[Decoded]) -> Batch:
    return Batch(torch.stack([item.pixels for item in items]), tuple(item.file for item in items))
