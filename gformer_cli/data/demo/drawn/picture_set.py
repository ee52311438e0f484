"""A data set of drawings, and its images: each drawing alone on white paper, or photographed by simulated cameras."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
from PIL import Image

from gformer_cli.data.demo.digits import DemoImage
from gformer_cli.data.demo.drawn.camera import Pixels, draw_cameras
from gformer_cli.data.demo.drawn.svg import SIDE
from gformer_cli.errors import InputError
from gformer_cli.seeding import derive_seed

MARGIN = 0.06
"""Share of the frame that stays white on each side of a picture without a camera."""


@dataclass(frozen=True)
class Drawing:
    """One drawing: what its image's file is called after, whose it is, and how it is drawn at a longer side.

    `draw` gives mode L, a shape that is printed in ink, or RGBA; None where nothing can be drawn.
    """

    name: str
    family: str
    draw: Callable[[int], Image.Image | None]


Classes = Mapping[str, Sequence[Drawing]]
"""The drawings of each class of a domain."""


@dataclass(frozen=True)
class PictureSet:
    """The domains of both roles by name, at most how many images of a class, and packages with their licences.

    Raises `InputError` for a class without a drawing.
    """

    name: str
    sources: Mapping[str, Classes]
    targets: Mapping[str, Classes]
    per_source: int
    per_target: int
    licences: tuple[str, ...]

    def __post_init__(self) -> None:
        for _, domain, classes, _ in self.domains():
            for label, found in classes.items():
                if not found:
                    raise InputError(
                        f"{self.name}: the packages have no drawing of {label!r} for domain {domain!r}",
                        "Give other versions of them with --packages DIR.",
                    )

    def domains(self) -> list[tuple[str, str, Classes, int]]:
        """Role, name, classes and images of a class of each domain."""
        return [
            *(("sources", name, classes, self.per_source) for name, classes in self.sources.items()),
            *(("targets", name, classes, self.per_target) for name, classes in self.targets.items()),
        ]

    def most_images(self, *, cameras: bool) -> int:
        """How many images there are; without cameras fewer, where some drawing cannot be drawn."""
        return sum(
            count if cameras else min(count, len(found))
            for _, _, classes, count in self.domains()
            for found in classes.values()
        )


def render(drawings: PictureSet, seed: int, size: int, *, cameras: bool) -> Iterator[DemoImage]:
    """Every image of (size, size, 3); the same `seed` gives the same pixels.

    Without `cameras` an image is a drawing that no other image of its class and domain is, so there may be fewer of
    them. With `cameras` every class has all its images: where drawings are few, each is photographed more than once.
    """
    own, others = draw_cameras(len(drawings.sources), len(drawings.targets), derive_seed(seed, drawings.name))
    side = max(SIDE, size * 3 // 2)
    for (role, domain, classes, count), camera in zip(drawings.domains(), own + others, strict=True):
        for label, found in classes.items():
            where = (drawings.name, role, domain, label)
            pictures = list(islice(_drawn(found, side, derive_seed(seed, *where)), count))
            for number, (name, picture) in enumerate(islice(cycle(pictures), count) if cameras else pictures):
                if cameras:
                    rng = np.random.default_rng(derive_seed(seed, *where, number))
                    pixels = camera.photograph(picture, size, rng, posed=True)
                else:
                    pixels = on_paper(picture, size)
                yield DemoImage(role, domain, label, f"{number:03d}-{name}", pixels)


def on_paper(picture: Image.Image, size: int) -> Pixels:
    """The picture upright in the middle of white paper, a shape in black: (size, size, 3) in [0, 1]."""
    if picture.mode == "L":
        black = Image.new("RGBA", picture.size, "black")
        black.putalpha(picture)
        picture = black
    room = size * (1.0 - 2.0 * MARGIN) / max(picture.size)
    shape = (max(1, round(picture.width * room)), max(1, round(picture.height * room)))
    placed = picture.convert("RGBa").resize(shape, Image.Resampling.LANCZOS).convert("RGBA")
    paper = Image.new("RGBA", (size, size), "white")
    paper.alpha_composite(placed, ((size - shape[0]) // 2, (size - shape[1]) // 2))
    return np.asarray(paper.convert("RGB"), dtype=np.float64) / 255.0


def _drawn(found: Sequence[Drawing], side: int, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Name and picture of each that can be drawn: of every family one, then of every family a second, and so on."""
    rng = np.random.default_rng(seed)
    families: dict[str, list[Drawing]] = {}
    for drawing in found:
        families.setdefault(drawing.family, []).append(drawing)
    order = [list(families.values())[at] for at in rng.permutation(len(families))]
    shuffled = [[own[at] for at in rng.permutation(len(own))] for own in order]
    for turn in range(max(map(len, shuffled), default=0)):
        for own in shuffled:
            if turn < len(own) and (picture := own[turn].draw(side)) is not None:
                yield own[turn].name, picture
