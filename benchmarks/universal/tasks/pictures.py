"""Drawings and photographs of Debian's packages: clip art, stamps of a paint program, pieces of chess boards.

The classes of `openclipart` (trained on) and of `stamps` (tested on) are folders of the same package, but none of
them is in both tasks, so that no picture is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.universal.tasks.task import Painter, Task
from gformer_cli.data.demo.drawn.packages import Packages
from gformer_cli.data.demo.drawn.pictures import (
    CLIP_ART_ROOT,
    STAMPS_ROOT,
    by_colour,
    divided,
    grey,
    is_photograph,
    pencil,
    picture_files,
    read_picture,
)
from gformer_cli.errors import InputError

Pictures = Mapping[str, Sequence[Image.Image]]
"""Pictures of each class."""

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
    seen, kept = divided({label: _read(picture_files(root, folders)) for label, folders in CLIP_ART.items()})
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
    stamps = packages.debian("tuxpaint-stamps-default") / STAMPS_ROOT
    drawn: dict[str, list[Image.Image]] = {}
    photographs: dict[str, list[Image.Image]] = {}
    for label, folders in STAMPS.items():
        files = picture_files(stamps, folders)
        photos = [file for file in files if is_photograph(file)]
        photographs[label] = _read(photos)
        drawn[label] = _read([file for file in files if file not in photos] + picture_files(clips, folders))
    seen, kept = divided(drawn)
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


def _painter(pictures: Pictures, treat: Callable[[Image.Image], Image.Image] | None = None) -> Painter:
    for label, found in pictures.items():
        if not found:
            raise InputError(f"no picture of {label!r}", "Name other folders in pictures.py.")
    treated = {label: [treat(one) if treat else one for one in found] for label, found in pictures.items()}

    def paint(label: str, rng: np.random.Generator) -> Image.Image:
        return treated[label][int(rng.integers(len(treated[label])))]

    return paint


def _by_colour(pictures: Pictures) -> dict[str, Painter]:
    return {name: _painter(domain) for name, domain in by_colour(pictures, lambda picture: picture).items()}


def _read(files: Iterable[Path]) -> list[Image.Image]:
    return [picture for picture in map(read_picture, files) if picture is not None]
