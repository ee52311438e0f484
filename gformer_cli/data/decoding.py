"""Encoded image files to upright 8-bit RGB, in threads, and the reason where that fails. No torch here.

Decoding runs in threads (Pillow releases the interpreter lock) a bounded number of images ahead of the
consumer, so that memory does not grow with the folder.
"""

from __future__ import annotations

import io
import math
import os
import stat
import struct
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFile, ImageOps, Jpeg2KImagePlugin, JpegImagePlugin, UnidentifiedImageError

from gformer_cli.data.folders import ImageFile as FoundFile

Result = TypeVar("Result")
FORMATS = ("BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, whatever a file's suffix says."""
PIXEL_LIMIT = 200_000_000
"""Width times height of the largest image that is decoded: that of the largest sensors of cameras and phones."""
JPEG_LIMIT = 500_000_000
FILE_LIMIT = 2 << 30
"""Bytes of the largest file that is read: no image within the limit needs more, at 16 bits and four channels."""
_LARGE_FILE = 64 << 20
"""Beyond so many bytes the header is checked before the rest is read: sparse files cost nothing to make."""
_STRIP = 256
"""Rows that are converted at a time."""

_MARGIN = 2
"""A JPEG is not decoded below so many times the pixels that are needed: the last step down is a careful filter's."""
_HUNGRY = ("JPEG2000", "WEBP")
"""Formats whose decoders need four times the memory of the others, up to 18 bytes a pixel."""

# Pillow's own limit is too low for large sensors: from here on it warns, and beyond twice this it refuses
Image.MAX_IMAGE_PIXELS = JPEG_LIMIT
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# what its decoders make of damaged files is told by `Skipped`, or is of no consequence for the pixels
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


@dataclass(frozen=True)
class Skipped:
    """An image that could not be used, and why."""

    path: str
    reason: str


def decode(data: bytes, *, side: int | None = None) -> Image.Image:
    """The first frame of an encoded image as upright 8-bit RGB.

    With `side`, the pixels of the shorter side that the caller goes on with, a JPEG that has at least twice as many at
    1/2, 1/4 or 1/8 of its size is decoded at that size: the decoder leaves out work, and enough is left to shrink.

    EXIF rotation is applied, 16-bit and float grey is scaled to 8 bit, transparent parts become white. An image that
    is too large is refused by its header, before any pixel is decoded: see `_limit` and `is_halved`. Raises whatever
    Pillow raises for broken data; a truncated image is broken.
    """
    with open_image(data) as image:
        pixels, limit = image.width * image.height, _limit(image)
        if is_halved(image, data):
            _halve(image)
        elif pixels > limit:
            raise ValueError(f"{image.width} x {image.height} is more than {limit // 10**6} million pixels")
        if side is not None:
            _shrink(image, _MARGIN * side)
        with _decoding.taking(min(pixels, limit) * PIXEL_LIMIT // limit):
            image.load()
            _turn_upright(image)
            return to_rgb(image)


def _limit(image: ImageFile.ImageFile) -> int:
    """Most pixels that are decoded in full."""
    return PIXEL_LIMIT // 4 if image.format in _HUNGRY else PIXEL_LIMIT


def open_image(data: bytes) -> ImageFile.ImageFile:
    """An image whose header is read and whose pixels are not."""
    return Image.open(io.BytesIO(data), formats=FORMATS)  # no others: one of them starts a program, Ghostscript


def is_halved(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether an opened image is so large that it is decoded at half its width and height.

    Formats that can do so without holding the whole: JPEG up to `JPEG_LIMIT` pixels, if they come in one pass, and
    JPEG 2000 up to `PIXEL_LIMIT`.
    """
    pixels = image.width * image.height
    if image.format == "JPEG2000":
        return PIXEL_LIMIT // 4 < pixels <= PIXEL_LIMIT
    return PIXEL_LIMIT < pixels <= JPEG_LIMIT and _one_pass(image, data)


def _one_pass(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether it is a JPEG with one scan; a decoder of several scans holds every coefficient of the whole image."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or image.info.get("progressive"):
        return False
    # Pillow has just read the header of the first scan: it must hold all components
    header = b"\xff\xda" + struct.pack(">HB", 6 + 2 * image.layers, image.layers)
    end = image.fp.tell() if image.fp is not None else 0
    return data[:end].rfind(header) == end - 8 - 2 * image.layers


def _halve(image: ImageFile.ImageFile) -> None:
    if isinstance(image, Jpeg2KImagePlugin.Jpeg2KImageFile):
        image.reduce = 1  # Pillow's way to ask for a lower resolution
    else:
        image.draft(None, (image.width // 2, image.height // 2))


def _shrink(image: ImageFile.ImageFile, side: int) -> None:
    """Ask a JPEG's decoder for its smallest size whose shorter side has `side` pixels or more; others cannot."""
    share = side / min(image.size)
    if isinstance(image, JpegImagePlugin.JpegImageFile) and share <= 0.5:
        # rounded up: Pillow takes the largest of 2, 4 and 8 that divides both sides into at least so many pixels
        image.draft(None, (math.ceil(image.width * share), math.ceil(image.height * share)))


def _turn_upright(image: Image.Image) -> None:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # the pixels are whole: EXIF that cannot be read turns nothing
        return


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to 8-bit RGB without clipping high bit depths."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    top = _brightest(image)
    made = Image.new("RGB", image.size)
    for y in range(0, image.height, _STRIP):  # so that no copy of the whole is in a wider type
        strip = image.crop((0, y, image.width, min(y + _STRIP, image.height)))
        made.paste(_strip_to_rgb(strip, top), (0, y))
    return made


def _brightest(image: Image.Image) -> float:
    """What counts as white in 16-bit, 32-bit and float grey; 255 for all other modes."""
    if image.mode.startswith("I;16"):
        return 65535.0  # whatever the brightest pixel: a dark picture must stay dark
    if image.mode not in {"I", "F"}:
        return 255.0
    # some 16-bit formats open as mode I; floats are taken as 0..1, 0..255 or 0..65535
    with np.errstate(invalid="ignore"):
        brightest = float(np.max(np.nan_to_num(np.asarray(image), nan=0.0, posinf=0.0), initial=0.0))
    return 65535.0 if brightest > 255.0 else 255.0 if brightest > 1.0 else 1.0


def _strip_to_rgb(image: Image.Image, top: float) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        with np.errstate(invalid="ignore"):
            values = np.nan_to_num(np.asarray(image, dtype=np.float64) / top, nan=0.0)
        image = Image.fromarray((np.clip(values, 0.0, 1.0) * 255.0).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


class _Budget:
    """Lets threads in as long as what they take together stays within a total."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._changed = Condition()

    @contextmanager
    def taking(self, amount: int) -> Iterator[None]:
        """Wait until `amount`, at most the total, is free; it is given back at the end of the block."""
        with self._changed:
            self._changed.wait_for(lambda: self._left >= amount)
            self._left -= amount
        try:
            yield
        finally:
            with self._changed:
                self._left += amount
                self._changed.notify_all()


_decoding = _Budget(PIXEL_LIMIT)
"""However many threads decode: large images wait for each other."""


def attempt(file: FoundFile, work: Callable[[bytes], Result]) -> Result | Skipped:
    """What `work` makes of the file's bytes, or the reason why the file cannot be used."""
    try:
        data = read_bytes(file.path)
        if not data:
            return Skipped(file.relative, "the file is empty")
        return work(data)
    except Exception as error:  # Pillow's decoders raise many kinds; none of them may end a long run
        return Skipped(file.relative, describe(error, file.path))


def read_bytes(path: Path) -> bytes:
    """The content of a regular file; nothing else is waited for, and no file is read that cannot be an image.

    Raises `ValueError` for pipes, devices and files over `FILE_LIMIT`, whatever `decode` would for the header of a
    large file, and `OSError`.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("not a regular file")
    with open(path, "rb", opener=_without_waiting) as stream:  # Path.open takes no opener
        size = os.fstat(stream.fileno()).st_size
        if size > FILE_LIMIT:
            raise ValueError(f"the file is larger than {FILE_LIMIT >> 30} GiB")
        if size > _LARGE_FILE:
            Image.open(stream, formats=FORMATS)
            stream.seek(0)
        return stream.read(FILE_LIMIT)


def _without_waiting(path: str, flags: int) -> int:
    # what was a file a moment ago may be a pipe now, whose opening waits for a writer
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def describe(error: Exception, path: Path) -> str:
    """A short reason without the file's own path (which is told beside it) or memory addresses."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"more than {PIXEL_LIMIT // 10**6} million pixels"
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    text = str(error).replace(str(path), "").strip() or type(error).__name__
    reason = text.splitlines()[0]
    # the others are defects of a decoder in the face of nonsense, and their texts tell little
    return reason if isinstance(error, OSError | ValueError | SyntaxError) else f"damaged image ({reason})"


def in_order(work: Callable[[FoundFile], Result], files: Iterable[FoundFile], *, workers: int) -> Iterator[Result]:
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
