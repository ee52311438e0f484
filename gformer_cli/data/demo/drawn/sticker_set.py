"""`stickers`: animals, fruit, flowers and vehicles; drawings are sources, photographs are one of the targets.

Of Debian's `openclipart-svg` and `tuxpaint-stamps-default`. The generator `universal` was trained on other classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from gformer_cli.data.demo.drawn import pictures
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.data.demo.drawn.picture_set import Classes, Drawing, PictureSet
from gformer_cli.data.demo.drawn.svg import check_resvg

CLIP_ART, STAMPS = "openclipart-svg", "tuxpaint-stamps-default"
CLASSES = {
    "mammal": ["animals/mammals"],
    "bird": ["animals/birds"],
    "fish": ["animals/fish"],
    "insect": ["animals/bugs", "animals/insects"],
    "fruit": ["food/fruit"],
    "flower": ["plants/flowers"],
    "vehicle": ["transportation/vehicles", "transportation/boating", "vehicles"],
}
"""Class -> folders of the clip art or of the stamps; most are in both."""

Sticker = tuple[Path, Image.Image]
"""A file, and the picture in it."""


def sticker_set(packages: Packages) -> PictureSet:
    """Raises `InputError` for a class of which there is no picture."""
    check_resvg()
    clips, stamps = packages.debians([CLIP_ART, STAMPS])
    clips, stamps = clips / pictures.CLIP_ART_ROOT, stamps / pictures.STAMPS_ROOT
    drawn: dict[str, list[Sticker]] = {}
    photographs: dict[str, list[Sticker]] = {}
    for label, folders in CLASSES.items():
        own, clip_art = pictures.picture_files(stamps, folders), pictures.picture_files(clips, folders)
        photographs[label] = _read([file for file in own if pictures.is_photograph(file)])
        drawn[label] = _read([file for file in own if not pictures.is_photograph(file)] + clip_art)
    seen, kept = pictures.divided(drawn)
    return PictureSet(
        name="stickers",
        sources={name: _drawings(classes) for name, classes in pictures.by_colour(seen, lambda one: one[1]).items()},
        targets={
            "photographs": _drawings(photographs),
            "new": _drawings(kept),
            "grey": _drawings(kept, pictures.grey),
            "pencil": _drawings(seen, pictures.pencil),
        },
        per_source=110,
        per_target=80,
        licences=(
            f"{CLIP_ART} (Open Clip Art Library): public domain",
            f"{STAMPS} (Tux Paint's stamps): GPL-2.0",
        ),
    )


def _read(files: Sequence[Path]) -> list[Sticker]:
    """Those that can be drawn."""
    return [(file, picture) for file in files if (picture := pictures.read_picture(file)) is not None]


def _drawings(
    found: Mapping[str, Sequence[Sticker]], treat: Callable[[Image.Image], Image.Image] | None = None
) -> Classes:
    def drawing(file: Path) -> Drawing:
        def draw(side: int) -> Image.Image | None:
            picture = pictures.read_picture(file, side)
            return treat(picture) if treat and picture else picture

        return Drawing(re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-"), file.name, draw)

    return {label: [drawing(file) for file, _ in stickers] for label, stickers in found.items()}
