"""Signs of fonts as pictures."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIDE = 96
"""Height of a font, in pixels, where nobody wants another."""
UNUSED = "\U000fff00"
"""A character that no font has: what is drawn for it is the font's sign for a missing one."""
FORMATS = (".ttf", ".otf", ".ttc")


def font_files(root: Path, patterns: Iterable[str]) -> list[Path]:
    """Font files below `root` whose names match one of `patterns`, sorted."""
    return sorted(
        path
        for pattern in patterns
        for path in root.rglob(pattern)
        if path.suffix.lower() in FORMATS and not path.is_symlink()
    )


def has_signs(path: str, signs: str) -> bool:
    """Whether a font has every one of the signs, and no two look the same."""
    font = read_font(path)
    missing = bytes(font.getmask(UNUSED))
    masks = [bytes(font.getmask(sign)) for sign in signs]
    return all(mask and mask != missing for mask in masks) and len(set(masks)) == len(masks)


@lru_cache(maxsize=256)
def read_font(path: str, side: int = SIDE) -> ImageFont.FreeTypeFont:
    """The font in a file. Raises `OSError` for a file of another kind, and for a bitmap font of other sizes."""
    return ImageFont.truetype(path, side)


@lru_cache(maxsize=4096)
def glyph(path: str, sign: str, side: int = SIDE) -> Image.Image:
    """The sign's shape in a square: mode L, as high or as wide as the square."""
    font = read_font(path, side)
    left, top, right, bottom = (int(edge) for edge in font.getbbox(sign))
    square = max(right - left, bottom - top)
    image = Image.new("L", (square, square))
    corner = ((square - (right - left)) // 2 - left, (square - (bottom - top)) // 2 - top)
    ImageDraw.Draw(image).text(corner, sign, fill=255, font=font)
    return image
