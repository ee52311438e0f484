"""TIFF files that Pillow would refuse or misread, though it has the decoders for them. No torch here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from PIL import ImageFile, ImagePalette, TiffImagePlugin

BITS_PER_SAMPLE, PHOTOMETRIC, COLOUR_MAP, PLANAR = 258, 262, 320, 284
_SWAPPED = {"I;16BS": "I;16S", "I;32B": "I;32N", "I;32BS": "I;32S", "F;32BF": "F;32F", "F;64BF": "F;64F"}
_ORDERS = {b"II": "", b"MM": "B"}


def read_more() -> None:
    """Name to Pillow the grey files that it has decoders for and does not know: 16, 32 and 64 bits in both orders."""
    for prefix, order in _ORDERS.items():
        for white_is_zero in (0, 1):
            for sample_format, bits, mode, raw in (
                (1, 16, "I;16B" if order else "I;16", f"I;16{order}"),
                (2, 16, "I", f"I;16{order}S"),
                (1, 32, "I", f"I;32{order}" if order else "I;32N"),
                (2, 32, "I", f"I;32{order}S"),
                (3, 32, "F", f"F;32{order}F"),
                (3, 64, "F", f"F;64{order}F"),
            ):
                key = (prefix, white_is_zero, (sample_format,), 1, (bits,), ())
                TiffImagePlugin.OPEN_INFO.setdefault(key, (mode, raw))


def mend(image: TiffImagePlugin.TiffImageFile) -> None:
    """Change how an opened file is going to be decoded where Pillow is wrong about it."""
    bits = image.tag_v2.get(BITS_PER_SAMPLE)
    if isinstance(bits, tuple) and bits[0] == 16 and image.tag_v2.get(PLANAR) == 2:
        # a plane for each colour, which Pillow takes for 8 bits where they are not compressed
        order = "B" if image.tag_v2.prefix == b"MM" else "L"
        change_raw_modes(image, lambda decoder, raw: f"{raw};16{order}" if raw in tuple("RGBA") else raw)
    if sys.byteorder == "little":  # what was compressed comes in the order of the machine, whatever the file's is
        change_raw_modes(image, lambda decoder, raw: _SWAPPED.get(raw, raw) if decoder == "libtiff" else raw)
    colours = image.tag_v2.get(COLOUR_MAP)
    if image.mode in ("P", "PA") and isinstance(colours, tuple) and max(colours, default=0) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))  # of 8 bits, where 16 are the rule


def change_raw_modes(image: ImageFile.ImageFile, change: Callable[[str, str], str]) -> None:
    """Give each part of an opened image another name of how its samples are stored, by its decoder and its own name."""
    tiles: list[Any] = []
    for tile in image.tile:
        decoder, extents, offset, arguments = tile
        if isinstance(arguments, tuple) and arguments:
            arguments = (change(decoder, str(arguments[0])), *arguments[1:])
        elif isinstance(arguments, str):
            arguments = change(decoder, arguments)
        tiles.append(like(tile, decoder, extents, offset, arguments))
    image.tile = tiles


def like(tile: Any, *parts: Any) -> Any:
    """A tile of these parts; those of older releases of Pillow are plain tuples."""
    return type(tile)(*parts) if hasattr(tile, "_fields") else parts
