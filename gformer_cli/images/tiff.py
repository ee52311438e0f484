"""TIFF files that Pillow would refuse or misread, though it has the decoders for them. No torch here."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import IO, Any

from PIL import ImageFile, ImagePalette, TiffImagePlugin

BITS_PER_SAMPLE, PHOTOMETRIC, COLOUR_MAP, PLANAR = 258, 262, 320, 284
_SWAPPED = {"I;16BS": "I;16S", "I;32B": "I;32N", "I;32BS": "I;32S", "F;32BF": "F;32F", "F;64BF": "F;64F"}
_ORDERS = {b"II": "", b"MM": "B"}


_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of each type of value."""
_PRIVATE = 32768
"""From here on tags are remarks of programs, which the pixels do not depend on."""


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


def check_whole(image: TiffImagePlugin.TiffImageFile) -> None:
    """Raises `OSError` for an opened file that is cut off within what tells how its samples are stored.

    Pillow goes on without the tags that are lost, and takes floats for integers.
    """
    stream = image.fp
    assert stream is not None
    before = stream.tell()
    try:
        whole = _is_whole(stream, ">" if image.tag_v2.prefix == b"MM" else "<")
    finally:
        stream.seek(before)
    if not whole:
        raise OSError("image file is truncated: its directory is not whole")


def _is_whole(stream: IO[bytes], order: str) -> bool:
    stream.seek(0)
    is_big = struct.unpack(f"{order}2xH", stream.read(4))[0] == 43
    length, count, entry = (8, "Q", "HHQQ") if is_big else (4, "H", "HHII")
    stream.seek(8 if is_big else 4)
    place = int.from_bytes(stream.read(length), "big" if order == ">" else "little")
    end = stream.seek(0, 2)
    stream.seek(place)
    (entries,) = struct.unpack(order + count, stream.read(struct.calcsize(order + count)))
    step = struct.calcsize(order + entry)
    directory = stream.read(entries * step)
    if len(directory) < entries * step:
        return False
    for tag, kind, values, offset in struct.iter_unpack(order + entry, directory):
        size = values * _SIZES.get(kind, 0)
        if tag < _PRIVATE and size > length and offset + size > end:
            return False
    return True


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
