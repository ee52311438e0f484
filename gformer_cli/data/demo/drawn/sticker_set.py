"""`stickers`: animals, fruit, flowers and vehicles; drawings are sources, photographs are one of the targets.

Of Debian's `openclipart-svg` and `tuxpaint-stamps-default`. The generator `universal` was trained on other classes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from gformer_cli.data.demo.drawn import pictures
from gformer_cli.data.demo.drawn.packages import Packages, debian_version, not_whole
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
_NOT_WHAT = {
    "mammal": (
        "teddy_bear edward_bear emule_icon* cat_scrathing_post* cartoon_vgcats* sleeping_bear_under* toro_al_tramonto*"
    ),
    "bird": "contour_bat wing_mitchell* turkey_on_platter* penguin_with_spider",
    "fish": "dolphin dolphin_* bluewhale* orca* lobster shrimp amibe* kallisti* paesaggio_marino*",
    "insect": "spider* ragn* snail* lumaca* *slug* woodlouse virus* mostriciattol* wings",
    "fruit": (
        "kallisti* eris_apple* apple_juice* juice_glass* straw_tote* turkey_platter* slate-apple* pie_* candied_* "
        "tile_* gumnut* tree_*"
    ),
    "flower": "cartoon_tree*",
    "vehicle": (
        "knot_* boating_rules* sailing_[!s]* sailboat_illustration_labels crossroads curve_ahead cycle_lane "
        "cycle_route quay_sign* trainsign lighthouse* the_mad_little_ship* wing_mitchell* toy_paper_plane* walnutboat "
        "7spoke* bikewheel tyre_*"
    ),
}
NOT_WHAT = {label: tuple(patterns.split()) for label, patterns in _NOT_WHAT.items()}
"""Class -> names of pictures in its folders that show something else, as patterns."""

Sticker = tuple[Path, Image.Image]
"""A file, and the picture in it."""


def sticker_set(packages: Packages) -> PictureSet:
    """Raises `InputError` for a class of which there is no picture."""
    check_resvg()
    roots = packages.debians([CLIP_ART, STAMPS])
    clips, stamps = roots[0] / pictures.CLIP_ART_ROOT, roots[1] / pictures.STAMPS_ROOT
    for root, folder in zip(roots, (clips, stamps), strict=True):
        if not folder.is_dir():
            raise not_whole(root, folder.relative_to(root).as_posix())
    versions = [debian_version(root) for root in roots]
    drawn: dict[str, list[Sticker]] = {}
    photographs: dict[str, list[Sticker]] = {}
    files = {
        label: [
            file for root in (stamps, clips) for file in pictures.picture_files(root, folders, NOT_WHAT.get(label, ()))
        ]
        for label, folders in CLASSES.items()
    }
    for label, found in pictures.told_apart(files).items():
        photographs[label] = _read([file for file in found if _is_photograph(file, stamps)])
        drawn[label] = _read([file for file in found if not _is_photograph(file, stamps)])
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
            f"{CLIP_ART} {versions[0]} (Open Clip Art Library): public domain",
            f"{STAMPS} {versions[1]} (Tux Paint's stamps): GPL-2.0",
        ),
    )


def _is_photograph(file: Path, stamps: Path) -> bool:
    return file.is_relative_to(stamps) and pictures.is_photograph(file)


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
