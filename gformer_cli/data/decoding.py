"""Encoded image files to upright 8-bit RGB, in threads, and the reason where that fails. No torch here.

Decoding runs in threads (Pillow releases the interpreter lock) a bounded number of images ahead of the
consumer, so that memory does not grow with the folder.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps

from gformer_cli.data.folders import ImageFile

Result = TypeVar("Result")


@dataclass(frozen=True)
class Skipped:
    """An image that could not be used, and why."""

    path: str
    reason: str


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
        if image.mode.startswith("I;16"):
            top = 65535.0  # whatever the brightest pixel: a dark picture must stay dark
        else:
            # some 16-bit formats open as mode I; floats are taken as 0..1, 0..255 or 0..65535
            brightest = values.max(initial=0.0)
            top = 65535.0 if brightest > 255.0 else 255.0 if brightest > 1.0 else 1.0
        image = Image.fromarray((np.clip(values / top, 0.0, 1.0) * 255.0).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def attempt(file: ImageFile, work: Callable[[bytes], Result]) -> Result | Skipped:
    """What `work` makes of the file's bytes, or the reason why the file cannot be used."""
    try:
        data = file.path.read_bytes()
        if not data:
            return Skipped(file.relative, "the file is empty")
        return work(data)
    except Exception as error:  # Pillow's decoders raise many kinds; none of them may end a long run
        return Skipped(file.relative, describe(error, file.path))


def describe(error: Exception, path: Path) -> str:
    """A short reason without the file's own path (which is told beside it) or memory addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if type(error).__name__ == "UnidentifiedImageError":
        return "not an image that Pillow can read"
    text = str(error).replace(str(path), "").strip() or type(error).__name__
    return text.splitlines()[0]


def in_order(work: Callable[[ImageFile], Result], files: Iterable[ImageFile], *, workers: int) -> Iterator[Result]:
    """`work(file)` for every file, in order, at most `8 * workers` ahead; with 0 workers in this thread."""
    if workers == 0:
        yield from map(work, files)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            for file in files:
                waiting.append(pool.submit(work, file))
                if len(waiting) >= 8 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
