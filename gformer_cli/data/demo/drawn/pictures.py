"""Clip art and stamps: files that hold a picture each, and how they are dealt out to domains."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageFilter

from gformer_cli.data.demo.drawn.svg import SIDE, cut, rasterised

Item = TypeVar("Item")

CLIP_ART_ROOT = "usr/share/openclipart/svg"
"""Of Debian's package `openclipart-svg`."""
STAMPS_ROOT = "usr/share/tuxpaint/stamps"
"""Of Debian's package `tuxpaint-stamps-default`."""
LEFT_OUT = ("mirror", "smil", "emot", "3_faces")
"""Parts of paths of pictures that are never used: another one's mirror image, and faces such as emoji are."""
MOST = 90
"""At most so many pictures of a class."""
LARGEST_SVG = 400_000
"""In bytes: a drawing larger than this takes seconds to draw, and is left out."""
KEPT = 0.3
"""Share of the drawings that no source domain sees."""
BY_COLOUR = ("pale", "plain", "vivid")


def picture_files(root: Path, folders: Iterable[str], without: Sequence[str] = ()) -> list[Path]:
    """At most `MOST` files of pictures below the folders, in an order that has nothing to do with their names.

    `without` are patterns of names, in small letters and without a suffix, of files that are left out.
    """
    found = [
        file
        for folder in folders
        for file in (root / folder).rglob("*")
        if ((file.suffix == ".svg" and file.stat().st_size <= LARGEST_SVG) or file.suffix == ".png")
        and not file.is_symlink()
        and not any(word in file.relative_to(root).as_posix() for word in LEFT_OUT)
        and not any(fnmatchcase(file.stem.lower(), pattern) for pattern in without)
    ]
    return sorted(found, key=lambda file: (zlib.crc32(file.relative_to(root).as_posix().encode()), file))[:MOST]


def told_apart(found: Mapping[str, Sequence[Path]]) -> dict[str, list[Path]]:
    """Of each class the files that are of no other class too, by their bytes; of equal ones within a class the first.

    A drawing that lies there as SVG and as PNG comes once, as SVG.
    """
    contents = {file: sha256(file.read_bytes()).digest() for files in found.values() for file in files}
    classes: dict[bytes, set[str]] = {}
    for label, files in found.items():
        for file in files:
            classes.setdefault(contents[file], set()).add(label)
    kept: dict[str, list[Path]] = {label: [] for label in found}
    seen = set()
    for label, files in found.items():
        for file in files:
            again = contents[file] in seen or (file.suffix == ".png" and file.with_suffix(".svg") in contents)
            if not again and classes[contents[file]] == {label}:
                kept[label].append(file)
                seen.add(contents[file])
    return kept


def is_photograph(file: Path) -> bool:
    """Whether a stamp is one: what is neither drawn in lines nor in a folder of cartoons."""
    return file.suffix == ".png" and "cartoon" not in file.parts


@cache
def read_picture(file: Path, side: int = SIDE) -> Image.Image | None:
    """The picture (mode RGBA, longer side at most `side`), cut to what is drawn; None if it cannot be drawn."""
    if file.suffix == ".png":
        try:
            return cut(Image.open(file).convert("RGBA"), side)
        except OSError:  # it is broken
            return None
    return rasterised(file.read_text(encoding="utf-8", errors="replace"), side)


def divided(found: Mapping[str, Sequence[Item]]) -> tuple[dict[str, Sequence[Item]], dict[str, Sequence[Item]]]:
    """Of each class what the sources see, and what they do not."""
    ends = {label: max(1, round(KEPT * len(items))) for label, items in found.items()}
    return (
        {label: items[ends[label] :] for label, items in found.items()},
        {label: items[: ends[label]] for label, items in found.items()},
    )


def by_colour(
    found: Mapping[str, Sequence[Item]], picture: Callable[[Item], Image.Image]
) -> dict[str, dict[str, Sequence[Item]]]:
    """Three domains of drawings, each class divided evenly by how colourful they are."""
    ordered = {label: sorted(items, key=lambda item: colourfulness(picture(item))) for label, items in found.items()}
    return {
        name: {label: items[len(items) * at // 3 : len(items) * (at + 1) // 3] for label, items in ordered.items()}
        for at, name in enumerate(BY_COLOUR)
    }


def colourfulness(picture: Image.Image) -> float:
    """Mean saturation of what is covered, in [0, 255]."""
    saturation, cover = np.asarray(picture.convert("HSV"))[..., 1], np.asarray(picture.getchannel("A")) > 128
    return float(saturation[cover].mean()) if cover.any() else 0.0


def grey(picture: Image.Image) -> Image.Image:
    """Without colour."""
    plain = picture.convert("L").convert("RGBA")
    plain.putalpha(picture.getchannel("A"))
    return plain


def pencil(picture: Image.Image) -> Image.Image:
    """The edges as lines (mode L), which the camera prints in its own ink."""
    white = Image.new("RGBA", (picture.width + 8, picture.height + 8), "white")
    white.alpha_composite(picture, (4, 4))
    edges = np.asarray(white.convert("L").filter(ImageFilter.FIND_EDGES), dtype=np.float64)[1:-1, 1:-1]
    lines = Image.fromarray((np.clip(edges / 96.0, 0.0, 1.0) * 255.0).astype(np.uint8))
    return lines.filter(ImageFilter.MaxFilter(3))
