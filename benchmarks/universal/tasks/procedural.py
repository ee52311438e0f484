"""Textures and shapes that are drawn, not fetched: a domain is a range of scales and a way of drawing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.universal.tasks.task import Painter, Task
from gformer_cli.data.demo.drawn.camera import Pixels

SIDE = 96
Field = Callable[[Pixels, Pixels, np.random.Generator], Pixels]
"""Ink in [0, 1] at the coordinates (across, down), in periods of the texture."""


def _stripes(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    return _wave(across)


def _checks(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    return np.asarray((np.sin(np.pi * across) * np.sin(np.pi * down) > 0).astype(np.float64))


def _dots(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    radius = rng.uniform(0.26, 0.4)
    away = np.hypot(across - np.round(across), down - np.round(down))
    return np.clip((radius - away) * 12.0, 0.0, 1.0)


def _bricks(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    joint, course = rng.uniform(0.08, 0.16), np.floor(down)
    shifted = across / 2.0 + 0.5 * (course % 2)
    inside = (down - course > joint) & (shifted - np.floor(shifted) > joint / 2.0)
    return inside.astype(np.float64)


def _waves(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    return _wave(across + rng.uniform(0.35, 0.6) * np.sin(np.pi * down * rng.uniform(0.7, 1.0)))


def _rings(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    return _wave(np.hypot(across - across.mean() + rng.uniform(-1, 1), down - down.mean() + rng.uniform(-1, 1)))


def _mesh(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    width = rng.uniform(0.12, 0.2)
    return ((np.abs(across - np.round(across)) < width) | (np.abs(down - np.round(down)) < width)).astype(np.float64)


def _zigzag(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    return _wave(across + rng.uniform(0.9, 1.3) * np.abs(down / 1.5 - np.round(down / 1.5)))


def _marble(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    return _wave(across * 0.4 + 2.2 * _smooth(rng, 5))


def _pebbles(across: Pixels, down: Pixels, rng: np.random.Generator) -> Pixels:
    """Cells around scattered points, dark where two cells meet."""
    low, high = (np.array([across.min(), down.min()]), np.array([across.max(), down.max()]))
    points = rng.uniform(low, high, (max(6, int(np.prod(high - low) * 0.8)), 2))
    away = np.sort(np.hypot(across[..., None] - points[:, 0], down[..., None] - points[:, 1]), axis=-1)
    return np.asarray(np.clip((away[..., 1] - away[..., 0]) * 4.0, 0.0, 1.0))


TEXTURES: dict[str, Field] = {
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "bricks": _bricks,
    "waves": _waves,
    "rings": _rings,
    "mesh": _mesh,
    "zigzag": _zigzag,
    "marble": _marble,
    "pebbles": _pebbles,
}


def texture_task() -> Task:
    """Domains differ in periods per frame, in how far the texture is turned, and in how it is printed."""
    return Task(
        name="textures",
        classes=tuple(TEXTURES),
        sources={
            "print": _texture(periods=(3.5, 5.0), turn=25.0, print_kind="sharp"),
            "fabric": _texture(periods=(5.0, 6.5), turn=15.0, print_kind="woven"),
            "close": _texture(periods=(2.5, 3.5), turn=40.0, print_kind="soft"),
            "worn": _texture(periods=(3.5, 5.5), turn=10.0, print_kind="patchy"),
        },
        targets={
            "far": _texture(periods=(5.5, 7.0), turn=25.0, print_kind="soft"),
            "turned": _texture(periods=(3.0, 5.0), turn=60.0, print_kind="patchy"),
            "rough": _texture(periods=(4.0, 6.0), turn=20.0, print_kind="frayed"),
        },
        seed=31,
        posed=False,
    )


def _texture(*, periods: tuple[float, float], turn: float, print_kind: str) -> Painter:
    def paint(label: str, rng: np.random.Generator) -> Image.Image:
        angle = np.deg2rad(rng.uniform(-turn, turn))
        down, across = (np.mgrid[0:SIDE, 0:SIDE] / SIDE - 0.5) * rng.uniform(*periods)
        phase = rng.uniform(0.0, 2.0, 2)
        turned = across * np.cos(angle) - down * np.sin(angle) + phase[0]
        field = TEXTURES[label](turned, across * np.sin(angle) + down * np.cos(angle) + phase[1], rng)
        return _printed(field, print_kind, rng)

    return paint


def _printed(ink: Pixels, kind: str, rng: np.random.Generator) -> Image.Image:
    if kind == "woven":
        ink = ink * (0.75 + 0.25 * (np.indices(ink.shape).sum(axis=0) // 3 % 2))
    elif kind == "patchy":
        ink = ink * np.clip(0.8 + 0.7 * _smooth(rng, 6), 0.25, 1.0)
    elif kind == "frayed":
        ink = np.where(rng.random(ink.shape) < 0.12, 1.0 - ink, ink)
    image = Image.fromarray((np.clip(ink, 0.0, 1.0) * 255.0).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(2.0)) if kind == "soft" else image


SHAPES = ("circle", "square", "triangle", "star", "cross", "arrow", "moon", "hexagon", "ring", "heart")
POLYGONS = {"circle": 24, "square": 4, "triangle": 3, "hexagon": 6}
"""Shapes that are regular, by their corners."""


def shape_task() -> Task:
    return Task(
        name="shapes",
        classes=SHAPES,
        sources={
            "filled": _shape(width=None, wobble=0.0),
            "outlined": _shape(width=(3, 7), wobble=0.0),
            "drawn": _shape(width=(5, 9), wobble=0.035),
        },
        targets={
            "cut-out": _shape(width=None, wobble=0.05),
            "hairline": _shape(width=(2, 3), wobble=0.02),
            "shaky": _shape(width=(4, 8), wobble=0.06),
        },
        seed=32,
    )


def _shape(*, width: tuple[int, int] | None, wobble: float) -> Painter:
    """Shapes filled (no `width`) or with an outline of so many pixels; `wobble` moves their corners."""

    def paint(label: str, rng: np.random.Generator) -> Image.Image:
        stretch = rng.uniform(0.78, 1.0, 2)
        image = Image.new("L", (SIDE, SIDE))
        draw = ImageDraw.Draw(image)
        for which, outline in enumerate(_outlines(label, rng)):
            points = outline * stretch + rng.normal(0.0, wobble, outline.shape) if wobble else outline * stretch
            corners = [(float(x), float(y)) for x, y in (points * 0.46 + 0.5) * SIDE]
            if width is None:
                draw.polygon(corners, fill=0 if which else 255)
            else:
                draw.line([*corners, *corners[:2]], fill=255, width=int(rng.integers(*width)), joint="curve")
        return image

    return paint


def _outlines(label: str, rng: np.random.Generator) -> list[Pixels]:
    """Closed outlines in [-1, 1], each (corners, 2); a second one is the first one's hole."""
    if label in POLYGONS:
        return [_polygon(POLYGONS[label])]
    if label == "ring":
        return [_polygon(24), _polygon(24) * rng.uniform(0.45, 0.65)]
    return [{"star": _star, "moon": _moon, "heart": _heart, "cross": _cross, "arrow": _arrow}[label](rng)]


def _star(rng: np.random.Generator) -> Pixels:
    return np.asarray(_polygon(10) * np.where(np.arange(10) % 2, rng.uniform(0.38, 0.5), 1.0)[:, None])


def _moon(rng: np.random.Generator) -> Pixels:
    angles, bite = np.linspace(-2.2, 2.2, 15), rng.uniform(0.25, 0.45)
    outer = np.stack([-np.cos(angles), np.sin(angles)], axis=1)
    inner = np.stack([-np.cos(angles) * bite - (1 - bite) * np.cos(2.2), np.sin(angles)], axis=1)
    return np.concatenate([outer, inner[::-1]])


def _heart(rng: np.random.Generator) -> Pixels:
    at = np.linspace(0.0, 2.0 * np.pi, 24, endpoint=False)
    high = 13 * np.cos(at) - 5 * np.cos(2 * at) - 2 * np.cos(3 * at) - np.cos(4 * at)
    return np.stack([np.sin(at) ** 3, -high / 16.0], axis=1)


def _cross(rng: np.random.Generator) -> Pixels:
    arm = rng.uniform(0.25, 0.38)
    quarter = np.array([[-arm, -1.0], [arm, -1.0], [arm, -arm]])
    turns = ((1, 0), (0, 1), (-1, 0), (0, -1))
    return np.concatenate([quarter @ np.array([[cosine, sine], [-sine, cosine]]) for cosine, sine in turns])


def _arrow(rng: np.random.Generator) -> Pixels:
    arm = rng.uniform(0.25, 0.38)
    return np.array([[-1, -arm], [0.1, -arm], [0.1, -0.8], [1, 0], [0.1, 0.8], [0.1, arm], [-1, arm]])


def _polygon(corners: int) -> Pixels:
    angles = np.arange(corners) * 2.0 * np.pi / corners - np.pi / 2.0 + (np.pi / 4.0 if corners == 4 else 0.0)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1.2 if corners == 4 else 1.0)


def _wave(phase: Pixels) -> Pixels:
    return np.clip(0.5 + 1.5 * np.sin(2.0 * np.pi * phase), 0.0, 1.0)


def _smooth(rng: np.random.Generator, cells: int) -> Pixels:
    coarse = Image.fromarray(rng.normal(0.0, 1.0, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64)
