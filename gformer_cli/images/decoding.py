"""Encoded image files to upright 8-bit RGB, in threads, and the reason where that fails. No torch here.

Decoding runs in threads (Pillow releases the interpreter lock) a bounded number of images ahead of the
consumer, so that memory does not grow with the folder. What the samples mean is told in `colour.py`, and which damage
leaves every pixel readable in `repair.py`.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from PIL import Image, ImageFile, ImageOps, Jpeg2KImagePlugin, JpegImagePlugin, UnidentifiedImageError

from gformer_cli.allocator import give_back
from gformer_cli.folders.domains import ImageFile as FoundFile
from gformer_cli.folders.formats import FORMATS
from gformer_cli.images.budget import Budget
from gformer_cli.images.colour import Refused, to_rgb
from gformer_cli.images.depth import Kind, Levels, Reach
from gformer_cli.images.opening import open_file, size_of
from gformer_cli.images.repair import digest, filled_up, repair
from gformer_cli.images.samples import Deep, ask_for_low_bytes, describe_samples, mend_transparency, reach_of

Item = TypeVar("Item")
Result = TypeVar("Result")
PIXEL_LIMIT = 200_000_000
"""Width times height of the largest image that is decoded: that of the largest sensors of cameras and phones."""
JPEG_LIMIT = 500_000_000
FILE_LIMIT = 2 << 30
"""Bytes of the largest file that is read: no image within the limit needs more, at 16 bits and four channels."""
_LARGE_IMAGE = 16_000_000
"""Pixels from which on memory is given back at once."""
_FILES = 512 << 20
"""Bytes of files that are held while they are decoded; a larger one waits until it is alone."""
_SMALL_FILE = 1 << 20
"""Up to so many bytes files are not counted."""
_LARGE_FILE = 64 << 20
"""Beyond so many bytes the header is checked before the rest is read: sparse files cost nothing to make."""
_MARGIN = 2
"""A JPEG is not decoded below so many times the pixels that are needed: the last step down is a careful filter's."""
_HUNGRY = ("AVIF", "HEIF", "JPEG2000", "WEBP")
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


LevelsFor = Callable[[Kind], Levels | None]
"""What is black and white in samples of a kind, for the file at hand; None where the file itself must tell."""


def decode(
    data: bytes, *, side: int | None = None, levels: LevelsFor | None = None, plain: bool = False
) -> Image.Image:
    """The first frame of an encoded image as upright 8-bit RGB in the colours of sRGB.

    With `side`, the pixels of the shorter side that the caller goes on with, a JPEG that has at least twice as many at
    1/2, 1/4 or 1/8 of its size is decoded at that size: the decoder leaves out work, and enough is left to shrink.

    EXIF rotation and ICC profiles are applied, deeper samples are scaled to 8 bit by `levels`, transparent parts become
    white. With `plain` the depth alone is seen to, and images of 8 bits are what Pillow's `convert("RGB")` makes of
    them.

    An image that is too large is refused by its header, before any pixel is decoded: see `_limit` and `is_halved`.
    Raises whatever Pillow raises for broken data; a truncated image is broken, unless what it lacks are no pixels
    (`repair`).
    """
    return decode_to(data, lambda image: image, side=side, levels=levels, plain=plain)


def decode_to(
    data: bytes,
    use: Callable[[Image.Image], Result],
    *,
    side: int | None = None,
    levels: LevelsFor | None = None,
    plain: bool = False,
) -> Result:
    """What `use` makes of the image that `decode` gives: its memory is accounted for until `use` is done with it."""
    try:
        if filled_up(data):
            raise OSError("image file is truncated, and filled up with zeros")
        return _decode(data, use, side, levels, plain)
    except Refused:
        raise
    except (OSError, SyntaxError, ValueError):
        # at its full size: what is read of a file must not depend on how large the caller wants it
        whole = repair(data, lambda changed: _decode(changed, digest, None, levels, plain))
        if whole is None:
            raise
        return _decode(whole, use, side, levels, plain)


def _decode(
    data: bytes, use: Callable[[Image.Image], Result], side: int | None, levels: LevelsFor | None, plain: bool
) -> Result:
    with open_image(data) as image:
        pixels, limit = image.width * image.height, _limit(image)
        if is_halved(image, data):
            _halve(image)
        elif pixels > limit:
            raise Refused(f"{image.width} x {image.height} is more than {limit // 10**6} million pixels")
        if side is not None:
            _shrink(image, _MARGIN * side)
        mend_transparency(image)
        deep = describe_samples(image)
        chosen = None
        if deep is not None:
            # before memory is taken: a folder may have to be looked at, and that takes some as well
            chosen = deep.own or (levels(deep.kind) if levels is not None else None)
        with _decoding.taking(min(pixels, limit) * PIXEL_LIMIT // limit):
            result: Result | None = None
            made: Image.Image = image
            try:
                image.load()
                low = None
                if deep is not None and _needs_low_bytes(image, deep, chosen):
                    low = _low_bytes(io.BytesIO(data))
                for read in (image, low):
                    if read is not None and not plain:
                        turn_upright(read)
                made = to_rgb(image, deep=deep, low=low, levels=chosen, plain=plain)
                result = use(made)
                return result
            finally:  # before what the pixels took is granted to others
                if pixels > _LARGE_IMAGE:
                    for whole in (image, made):
                        if whole is not result:
                            whole.close()
                    give_back()


def _needs_low_bytes(image: Image.Image, deep: Deep, levels: Levels | None) -> bool:
    """Whether 16-bit colours are not told well enough by their higher bytes."""
    wide = levels is not None and (levels.black, levels.white) != (0.0, deep.full)
    return bool(deep.raw) and (wide or "transparency" in image.info)


def _low_bytes(stream: IO[bytes]) -> Image.Image:
    with Image.open(stream, formats=FORMATS) as low:
        describe_samples(low)
        ask_for_low_bytes(low)
        low.load()
        made: Image.Image = low
        return made


def look_at_samples(file: FoundFile) -> tuple[Kind, Reach] | None:
    """What kind of deep samples a file holds, and how far they go.

    None where there are none, where the file itself says what is white, and where it cannot be read.
    """
    try:
        with open_file(file) as stream, Image.open(stream, formats=FORMATS) as image:
            deep = describe_samples(image)
            if deep is None or deep.own is not None or image.width * image.height > _limit(image):
                return None
            with _decoding.taking(image.width * image.height * PIXEL_LIMIT // _limit(image)):
                image.load()
                with open_file(file) as again:
                    low = _low_bytes(again) if deep.raw else None
                return deep.kind, reach_of(image, deep, low)
    except MemoryError:
        raise
    except Exception:  # told when its turn comes to be read
        return None


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


def turn_upright(image: Image.Image) -> None:
    """As its EXIF says, in place."""
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise
    except Exception:  # the pixels are whole: EXIF that cannot be read turns nothing
        return


_decoding = Budget(PIXEL_LIMIT)
"""However many threads decode: large images wait for each other."""


_reading = Budget(_FILES)
"""Encoded images in memory, in bytes. Taken before the other budget, never after it: so nobody waits in a circle."""


def attempt(file: FoundFile, work: Callable[[bytes], Result]) -> Result | Skipped:
    """What `work` makes of the file's bytes, or the reason why the file cannot be used."""
    try:
        with _reading.taking(min(_size(file), _FILES)):
            data = read_bytes(file)
            if not data:
                return Skipped(file.relative, "the file is empty")
            return work(data)
    except Exception as error:  # Pillow's decoders raise many kinds; none of them may end a long run
        return Skipped(file.relative, describe(error, file.path))


def _size(file: FoundFile) -> int:
    size = size_of(file)
    return size if size > _SMALL_FILE else 0


def read_bytes(file: FoundFile) -> bytes:
    """The content of a regular file; nothing else is waited for, and no file is read that cannot be an image.

    Raises `ValueError` for pipes, devices and files over `FILE_LIMIT`, whatever `decode` would for the header of a
    large file, and `OSError`.
    """
    with open_file(file) as stream:
        size = size_of(file)
        if size > FILE_LIMIT:
            raise ValueError(f"the file is larger than {FILE_LIMIT >> 30} GiB")
        if size > _LARGE_FILE:
            Image.open(stream, formats=FORMATS)
            stream.seek(0)
        return stream.read(FILE_LIMIT)


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


def in_order(work: Callable[[Item], Result], files: Iterable[Item], *, workers: int) -> Iterator[Result]:
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
