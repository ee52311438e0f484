"""SVG drawings as pictures."""

from __future__ import annotations

import io
from importlib.util import find_spec

from PIL import Image

from gformer_cli.errors import InputError

SIDE = 96
"""Longer side of a picture, in pixels, where nobody wants another."""


def check_resvg() -> None:
    """Raises `InputError` where SVG drawings cannot be drawn."""
    if find_spec("resvg_py") is None:
        raise InputError(
            "SVG files are drawn by a package that is not installed (resvg-py)",
            "Install it with: pip install 'gformer[demo]'",
        )


def rasterised(text: str, side: int = SIDE) -> Image.Image | None:
    """The drawing (mode RGBA, longer side `side`), cut to what is drawn; None if it cannot be drawn or is empty."""
    import resvg_py

    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=text, width=2 * side, dpi=96))
    except (ValueError, RuntimeError):
        return None
    return cut(Image.open(io.BytesIO(png)).convert("RGBA"), side)


def cut(image: Image.Image, side: int = SIDE) -> Image.Image | None:
    """Cut to what is drawn and shrunk to `side`; None where hardly anything is."""
    box = image.getchannel("A").point(lambda cover: 255 if cover > 16 else 0).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < 4:
        return None
    image = image.crop(box)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image
