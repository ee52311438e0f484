"""Samples of more than 8 bits, which Pillow does not scale, or cuts off at 8: what a file holds, and reading it whole.

No torch here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from gformer_cli.images.depth import Kind, Levels, Reach, reach
from gformer_cli.images.tiff import BITS_PER_SAMPLE, PHOTOMETRIC, change_raw_modes, check_whole, like, mend, read_more

STRIP = 256
"""Rows that are converted at a time, so that no copy of the whole is in a wider type."""
_LOOKED_AT = 1 << 20
"""Samples of an image that are enough to see how far they go."""
_OTHER_BYTE = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
"""Pillow keeps one byte of two of a 16-bit colour; under the other byte order's name it keeps the other."""

read_more()


@dataclass(frozen=True)
class Deep:
    """What an opened file tells of its samples before they are read."""

    kind: Kind
    full: float
    """The largest that it can hold; infinite for floats."""
    own: Levels | None = None
    """Where the file says itself what is white."""
    inverted: bool = False
    """White is zero."""
    unsigned: bool = False
    """32 bits without a sign, which Pillow has none for."""
    raw: str = ""
    """Pillow's name of how samples of 16-bit colours are stored."""


def describe_samples(image: ImageFile.ImageFile) -> Deep | None:
    """What an opened image that is not yet loaded holds; None for 8 bits or less.

    Netpbm files with more than 8 bits are made to be read as they are, not scaled by Pillow. Raises `OSError` for a
    TIFF that is cut off in what tells how to read it.
    """
    own = _netpbm(image) if image.format == "PPM" else None
    inverted = False
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        check_whole(image)
        mend(image)
        inverted = image.tag_v2.get(PHOTOMETRIC) == 0
        own = Levels(0.0, 4095.0) if _first(image.tag_v2.get(BITS_PER_SAMPLE)) == 12 else None
    deep, raw = of_mode(image.mode), _raw_mode(image)
    if deep is not None:
        if raw in ("I;16S", "I;16BS"):
            deep = replace(deep, full=32767.0)
        elif raw in ("I;32N", "I;32", "I;32B"):
            deep = replace(deep, full=2.0**32 - 1.0, unsigned=True)
        elif image.format == "PPM":
            deep = replace(deep, full=65535.0 if deep.kind == "integer" else deep.full)
        return replace(deep, own=own, inverted=inverted)
    if image.mode in ("RGB", "RGBA") and raw.endswith(tuple(_OTHER_BYTE)) and not raw.startswith(("BGR", "RGBa")):
        return Deep("integer", 65535.0, own, raw=raw)
    return None


def mend_transparency(image: ImageFile.ImageFile) -> None:
    """Of an opened PNG: Pillow spreads grey of 2 and 4 bits over 8, and leaves the one that is transparent as it is."""
    most = {"L;2": 3, "L;4": 15}.get(_raw_mode(image))
    clear = image.info.get("transparency")
    if image.format == "PNG" and most is not None and isinstance(clear, int):
        image.info["transparency"] = (clear & most) * (255 // most)


def of_mode(mode: str) -> Deep | None:
    """What images of a Pillow mode hold where no file tells more."""
    if mode == "F":
        return Deep("float", float("inf"))
    if mode.startswith("I;16"):
        return Deep("integer", 65535.0)
    return Deep("integer", 2.0**31 - 1.0) if mode == "I" else None


def ask_for_low_bytes(image: ImageFile.ImageFile) -> None:
    """Make the decoder of an opened 16-bit colour image keep the lower bytes; of grey and alpha, all of them."""

    def change(_: str, raw: str) -> str:
        return "RGBA" if raw.startswith("LA") else raw[:-4] + _OTHER_BYTE.get(raw[-4:], raw[-4:])

    change_raw_modes(image, change)


def strips(image: Image.Image, deep: Deep, low: Image.Image | None, rows: range) -> Iterator[NDArray[Any]]:
    """The samples of a loaded image, (rows, width) or (rows, width, 3), `rows.step` at a time; `low` as asked for."""
    for y in rows:
        box = (0, y, image.width, min(y + STRIP, image.height)) if rows.step == STRIP else (0, y, image.width, y + 1)
        values = np.asarray(image.crop(box))
        if low is not None:
            other = np.asarray(low.crop(box))
            if deep.raw.startswith("LA"):
                wide = other[..., :1].astype(np.uint16) << 8 | other[..., 1:2]
                values = np.repeat(wide, 3, axis=-1)
            else:
                values = values[..., :3].astype(np.uint16) << 8 | other[..., :3]
        yield values.view(np.uint32) if deep.unsigned else values


def reach_of(image: Image.Image, deep: Deep, low: Image.Image | None) -> Reach:
    """How far the samples of a loaded image go, judged by rows from all over it."""
    step = max(1, image.height * image.width // _LOOKED_AT)
    rows = np.concatenate([row.ravel() for row in strips(image, deep, low, range(0, image.height, step))])
    return reach(rows, deep.full)


def scaled(values: NDArray[Any], deep: Deep, levels: Levels) -> NDArray[np.uint8]:
    """Samples as 0 to 255; what is no number becomes black."""
    if values.dtype == np.uint16 and values.size > 1 << 16:
        table = scaled(np.arange(1 << 16, dtype=np.float64), deep, levels)
        return np.take(table, values)
    with np.errstate(invalid="ignore", over="ignore"):
        share = (values.astype(np.float64) - levels.black) / (levels.white - levels.black)
    share = np.clip(np.nan_to_num(share, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    made: NDArray[np.uint8] = ((1.0 - share if deep.inverted else share) * 255.0).round().astype(np.uint8)
    return made


def _netpbm(image: ImageFile.ImageFile) -> Levels | None:
    """The header's maxval as white, unless it is that of any 16-bit file."""
    decoder, extents, offset, arguments = image.tile[0]
    if decoder not in ("ppm", "ppm_plain") or not isinstance(arguments, tuple) or len(arguments) != 2:
        return None
    most = arguments[1]
    if not isinstance(most, int) or most <= 255:
        return None
    if decoder == "ppm_plain":  # scaled already
        return Levels(0.0, 65535.0) if most != 65535 else None
    image.tile = [like(image.tile[0], "raw", extents, offset, "I;16B" if image.mode == "I" else "RGB;16B")]
    return Levels(0.0, float(most)) if most != 65535 else None


def _raw_mode(image: ImageFile.ImageFile) -> str:
    if not image.tile:
        return ""
    arguments = image.tile[0][3]
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _first(value: object) -> object:
    return value[0] if isinstance(value, tuple) and value else value
