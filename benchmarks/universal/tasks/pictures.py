"""Drawings and photographs of Debian's packages: clip art, stamps of a paint program, pieces of chess boards.

The classes of `openclipart` (trained on) and of `stamps` (tested on) are folders of the same package, but none of
them is in both tasks, so that no picture is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.universal.tasks.packages import Packages
from benchmarks.universal.tasks.svg import cut, rasterised
from benchmarks.universal.tasks.task import Painter, Task
from gformer_cli.errors import InputError

CLIP_ART_ROOT = "usr/share/openclipart/svg"
Pictures = dict[str, list[Image.Image]]
"""Pictures of each class."""

LEFT_OUT = ("mirror", "smil", "emot", "3_faces")
"""Parts of paths of pictures that are never used: another one's mirror image, and faces such as emoji are."""
MOST = 90
"""At most so many pictures of a class."""
LARGEST_SVG = 400_000
"""In bytes: a drawing larger than this takes seconds to draw, and is left out."""
KEPT = 0.3
"""Share of the drawings that no source domain sees."""

CLIP_ART = {
    "people": ["people"],
    "tool": ["tools"],
    "building": ["buildings"],
    "music": ["recreation/music"],
    "drink": ["food/beverages"],
    "flag": ["signs_and_symbols/flags/africa", "signs_and_symbols/flags/europe", "signs_and_symbols/flags/asia"],
    "computer": ["computer/hardware", "electronics"],
    "road-sign": ["transportation/roadsigns"],
    "arrow": ["shapes/arrows"],
}
STAMPS = {
    "mammal": ["animals/mammals"],
    "bird": ["animals/birds"],
    "insect": ["animals/bugs", "animals/insects"],
    "fruit": ["food/fruit", "food/vegetables"],
    "flower": ["plants/flowers"],
    "vehicle": ["transportation/vehicles", "vehicles"],
}
"""Class -> folders of openclipart or of Tux Paint's stamps; most are in both."""
CHESS_SETS = {
    "staunton": ["cburnett", "merida", "merida_new", "alpha"],
    "modern": ["chessicons", "chessmonk", "freestaunton"],
    "carved": ["kilfiger", "magnetic", "maya"],
    "plain": ["regular", "ada", "metaltops"],
}
CHESS_TARGETS = {"pirate": ["pirat"], "thin": ["alfonso", "kosal"], "print": ["leipzig"]}
PIECES = {"king": "k", "queen": "q", "rook": "r", "bishop": "b", "knight": "n", "pawn": "p"}


def chess_task(packages: Packages) -> Task:
    """Domains are families of piece sets."""
    root = packages.debian("pychess") / "usr/share/pychess/pieces"

    def domain(sets: list[str]) -> Painter:
        return _painter(
            {
                piece: _read([root / one / f"{side}{sign}.svg" for one in sets for side in "wb"])
                for piece, sign in PIECES.items()
            }
        )

    return Task(
        name="chess-pieces",
        classes=tuple(PIECES),
        sources={name: domain(sets) for name, sets in CHESS_SETS.items()},
        targets={name: domain(sets) for name, sets in CHESS_TARGETS.items()},
        seed=41,
        per_source=85,
        per_target=50,
    )


def clip_art_task(packages: Packages) -> Task:
    """Sources: pale, plain and vivid drawings. Targets: others, in colour and in grey, and the same in pencil."""
    root = packages.debian("openclipart-svg") / CLIP_ART_ROOT
    seen, kept = _divided({label: _read(_below(root, folders)) for label, folders in CLIP_ART.items()})
    return Task(
        name="openclipart",
        classes=tuple(CLIP_ART),
        sources=_by_colour(seen),
        targets={"new": _painter(kept), "grey": _painter(kept, grey), "pencil": _painter(seen, pencil)},
        seed=42,
        sizes=(32, 64),
        per_source=80,
        per_target=36,
    )


def stamp_task(packages: Packages) -> Task:
    """Sources: drawings. Targets: photographs under two cameras, other drawings, and the same in pencil."""
    clips = packages.debian("openclipart-svg") / CLIP_ART_ROOT
    stamps = packages.debian("tuxpaint-stamps-default") / "usr/share/tuxpaint/stamps"
    drawn: Pictures = {}
    photographs: Pictures = {}
    for label, folders in STAMPS.items():
        files = _below(stamps, folders)
        photos = [file for file in files if file.suffix == ".png" and "cartoon" not in file.parts]
        photographs[label] = _read(photos)
        drawn[label] = _read([file for file in files if file not in photos] + _below(clips, folders))
    seen, kept = _divided(drawn)
    return Task(
        name="stamps",
        classes=tuple(STAMPS),
        sources=_by_colour(seen),
        targets={
            "photographs": _painter({label: pictures[::2] for label, pictures in photographs.items()}),
            "prints": _painter({label: pictures[1::2] for label, pictures in photographs.items()}),
            "new": _painter(kept),
            "pencil": _painter(seen, pencil),
        },
        seed=43,
        sizes=(32, 64),
        per_source=110,
        per_target=80,
        colours=64,
    )


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


def _painter(pictures: Pictures, treat: Callable[[Image.Image], Image.Image] | None = None) -> Painter:
    for label, found in pictures.items():
        if not found:
            raise InputError(f"no picture of {label!r}", "Name other folders in pictures.py.")
    treated = {label: [treat(one) if treat else one for one in found] for label, found in pictures.items()}

    def paint(label: str, rng: np.random.Generator) -> Image.Image:
        return treated[label][int(rng.integers(len(treated[label])))]

    return paint


def _by_colour(pictures: Pictures) -> dict[str, Painter]:
    """Three domains of drawings, each class divided evenly by how colourful they are."""
    ordered = {label: sorted(found, key=_colourfulness) for label, found in pictures.items()}
    return {
        name: _painter(
            {label: found[len(found) * at // 3 : len(found) * (at + 1) // 3] for label, found in ordered.items()}
        )
        for at, name in enumerate(("pale", "plain", "vivid"))
    }


def _colourfulness(picture: Image.Image) -> float:
    """Mean saturation of what is covered, in [0, 255]."""
    saturation, cover = np.asarray(picture.convert("HSV"))[..., 1], np.asarray(picture.getchannel("A")) > 128
    return float(saturation[cover].mean()) if cover.any() else 0.0


def _divided(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """Of each class the pictures that the sources see, and those that they do not."""
    ends = {label: max(1, round(KEPT * len(found))) for label, found in pictures.items()}
    return (
        {label: found[ends[label] :] for label, found in pictures.items()},
        {label: found[: ends[label]] for label, found in pictures.items()},
    )


def _below(root: Path, folders: list[str]) -> list[Path]:
    """At most `MOST` files of pictures below the folders, in an order that has nothing to do with their names."""
    found = [
        file
        for folder in folders
        for file in (root / folder).rglob("*")
        if ((file.suffix == ".svg" and file.stat().st_size <= LARGEST_SVG) or file.suffix == ".png")
        and not file.is_symlink()
        and not any(word in file.relative_to(root).as_posix() for word in LEFT_OUT)
    ]
    return sorted(found, key=lambda file: (zlib.crc32(file.relative_to(root).as_posix().encode()), file))[:MOST]


def _read(files: list[Path]) -> list[Image.Image]:
    return [picture for picture in map(_picture, files) if picture is not None]


@cache
def _picture(file: Path) -> Image.Image | None:
    """None for a file that cannot be drawn."""
    if file.suffix == ".png":
        return cut(Image.open(file).convert("RGBA"))
    return rasterised(file.read_text(encoding="utf-8", errors="replace"))
