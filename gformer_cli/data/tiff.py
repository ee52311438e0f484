"""TIFF files that Pillow would refuse or misread, though it has the decoders for them. No torch here."""

from __future__ import annotations

import sys

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
        image.tile = [
            ImageFile._Tile(decoder, extents, offset, (f"{arguments[0]};16{order}", *arguments[1:]))
            if isinstance(arguments, tuple) and arguments[0] in tuple("RGBA")
            else ImageFile._Tile(decoder, extents, offset, arguments)
            for decoder, extents, offset, arguments in image.tile
        ]
    if sys.byteorder == "little":  # what was compressed comes in the order of the machine, whatever the file's is
        image.tile = [
            ImageFile._Tile(decoder, extents, offset, (_SWAPPED.get(arguments[0], arguments[0]), *arguments[1:]))
            if decoder == "libtiff" and isinstance(arguments, tuple)
            else ImageFile._Tile(decoder, extents, offset, arguments)
            for decoder, extents, offset, arguments in image.tile
        ]
    colours = image.tag_v2.get(COLOUR_MAP)
    if image.mode in ("P", "PA") and isinstance(colours, tuple) and max(colours, default=0) < 256:
        image.palette = ImagePalette.raw("RGB;L", bytes(colours))  # of 8 bits, where 16 are the rule
