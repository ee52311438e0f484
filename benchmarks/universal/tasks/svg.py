"""SVG drawings as pictures."""

from __future__ import annotations

import io

from PIL import Image

SIDE = 96
"""Longer side of a picture, in pixels."""


def rasterised(text: str) -> Image.Image | None:
    """The drawing (mode RGBA, longer side `SIDE`), cut to what is drawn; None if it cannot be drawn or is empty."""
    import resvg_py

    try:
        png = bytes(resvg_py.svg_to_bytes(svg_string=text, width=2 * SIDE, dpi=96))
    except (ValueError, RuntimeError):
        return None
    return cut(Image.open(io.BytesIO(png)).convert("RGBA"))


def cut(image: Image.Image) -> Image.Image | None:
    """Cut to what is drawn and shrunk to `SIDE`; None where hardly anything is."""
    box = image.getchannel("A").point(lambda cover: 255 if cover > 16 else 0).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < 4:
        return None
    image = image.crop(box)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return image
