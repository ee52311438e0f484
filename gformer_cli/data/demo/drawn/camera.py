"""A simulated camera: photographs a picture lying on a plate, each time from a slightly different pose.

A picture is a Pillow image: mode `L` is a shape without colour (0 to 255 of ink), printed in the camera's ink;
mode `RGBA` keeps its own colours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Pixels = npt.NDArray[np.float64]
Colour = tuple[float, float, float]

SURFACES = ("plain", "stripes", "blotches", "weave")
TROUBLES = ("night", "fog", "glare", "defocus", "grain", "negative", "cast", "shadow")
"""What can be wrong with a target's camera; no source has any of it."""
SUPERSAMPLING = 3


@dataclass(frozen=True)
class Camera:
    """One condition. Light levels are in [0, 1]; lengths are in 1/32 of the frame; every image jitters around them."""

    ink: Colour
    plate: Colour
    turn: float = 12.0
    """Standard deviation of the picture's rotation, in degrees."""
    surface: str = "plain"
    texture: float = 0.0
    """Amplitude of the plate's surface."""
    gradient: float = 0.0
    """How much darker the far side of the plate is."""
    cast: Colour = (1.0, 1.0, 1.0)
    """Colour of the light."""
    glare: float = 0.0
    """Brightness of a round reflection at a random place."""
    haze: float = 0.0
    """Share of scattered white light."""
    light: float = 1.0
    """Overall exposure."""
    blur: float = 0.0
    """Standard deviation of the defocus."""
    noise: float = 0.0
    """Standard deviation of the sensor noise."""
    negative: bool = False

    def photograph(self, picture: Image.Image, size: int, rng: np.random.Generator, *, posed: bool) -> Pixels:
        """`picture` as this camera sees it: (size, size, 3) in [0, 1]. Without `posed` it fills the frame as it is.

        The same generator gives the same pose, light and colours at every `size`.
        """
        canvas = _posed(picture, size, rng, self.turn) if posed else _filling(picture, size)
        ink = np.clip(np.array(self.ink) + rng.normal(0.0, 0.05, 3), 0.0, 1.0)
        plate = np.clip(np.array(self.plate) + rng.normal(0.0, 0.05, 3), 0.0, 1.0)
        plate = plate * _surface(self.surface, self.texture, size, rng)
        cover = canvas[..., 3:] * 1.0
        printed = canvas[..., :3] if picture.mode == "RGBA" else np.broadcast_to(ink, (*cover.shape[:2], 3))
        image = np.clip(cover * printed + (1.0 - cover) * plate, 0.0, 1.0)
        image = 1.0 - image if self.negative else image
        image = self._lit(image, rng)
        if self.blur:
            image = _blurred(image, self.blur * rng.uniform(0.8, 1.2) * size / 32.0)
        return np.asarray(np.clip(image + rng.normal(0.0, self.noise + 1e-9, image.shape), 0.0, 1.0))

    def _lit(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """Light of its own colour, falling off to one side, with a reflection and haze in the air."""
        size = image.shape[0]
        down, across = np.mgrid[0:size, 0:size] / (size - 1.0)
        angle, centre = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.15, 0.85, 2)
        slope = (down - 0.5) * np.sin(angle) + (across - 0.5) * np.cos(angle)
        image = image * np.array(self.cast) * (1.0 - self.gradient * (slope + 0.5))[..., None]
        spot = np.exp(-((down - centre[0]) ** 2 + (across - centre[1]) ** 2) / (2.0 * 0.18**2))
        image = image + self.glare * spot[..., None]
        haze = self.haze * rng.uniform(0.9, 1.1)
        return np.asarray((image * (1.0 - haze) + haze) * self.light * rng.uniform(0.9, 1.1))


def draw_cameras(sources: int, targets: int, seed: int) -> tuple[list[Camera], list[Camera]]:
    """Cameras of a task: every source's is ordinary, every target's is akin to one of them, with a trouble of its own.

    The pictures of a target are of another style as well: the two together are to cost a network 10 to 35 points.
    """
    rng = np.random.default_rng([seed, 0xCA])
    ordinary = [_ordinary(rng, dark_plate=bool((number + seed) % 2)) for number in range(sources)]
    order = rng.permutation(len(TROUBLES))[:targets]
    akin = [_akin(ordinary[at % sources], rng) for at in range(targets)]
    return ordinary, [_troubled(akin[at], TROUBLES[int(kind)], rng) for at, kind in enumerate(order)]


def _ordinary(rng: np.random.Generator, *, dark_plate: bool) -> Camera:
    dark, bright = rng.uniform(0.05, 0.32, 3), rng.uniform(0.62, 0.98, 3)
    ink, plate = (bright, dark) if dark_plate else (dark, bright)
    surface = str(rng.choice(SURFACES))
    return Camera(
        ink=_colour(ink),
        plate=_colour(plate),
        turn=float(rng.uniform(5.0, 14.0)),
        surface=surface,
        texture=float(rng.uniform(0.08, 0.22)),
        gradient=float(rng.choice([0.0, 0.2, 0.45])),
        light=float(rng.uniform(0.85, 1.05)),
        blur=float(rng.choice([0.0, 0.0, 0.5, 0.8])),
        noise=float(rng.uniform(0.01, 0.03)),
    )


def _akin(camera: Camera, rng: np.random.Generator) -> Camera:
    """Of slightly other colours, and with a surface and a pose of its own."""
    ink, plate = (
        np.clip(np.array(colour) + rng.normal(0.0, 0.1, 3), 0.0, 1.0) for colour in (camera.ink, camera.plate)
    )
    surface, turn = str(rng.choice(SURFACES)), float(rng.uniform(5.0, 14.0))
    return replace(camera, ink=_colour(ink), plate=_colour(plate), surface=surface, turn=turn)


def _troubled(camera: Camera, trouble: str, rng: np.random.Generator) -> Camera:
    """`camera` with one trouble."""
    strength = float(rng.uniform(0.85, 1.15))
    changes: dict[str, dict[str, Any]] = {
        "night": {"light": 0.6 / strength, "noise": 0.035},
        "fog": {"haze": 0.3 * strength, "blur": 0.6},
        "glare": {"glare": 0.6 * strength, "gradient": 0.3},
        "defocus": {"blur": 1.0 * strength},
        "grain": {"noise": 0.085 * strength},
        "negative": {"negative": True},
        "cast": {"cast": _colour(rng.permutation([1.05, 0.85, 0.55 / strength])), "gradient": 0.3},
        "shadow": {"gradient": 0.7 * strength},
    }
    return replace(camera, **changes[trouble])


def _colour(values: npt.NDArray[np.float64]) -> Colour:
    red, green, blue = (float(value) for value in values)
    return (red, green, blue)


def _posed(picture: Image.Image, size: int, rng: np.random.Generator, turn: float) -> Pixels:
    """The picture turned, scaled and moved in a frame of (size, size, 4) in [0, 1]: colours and cover."""
    scale, angle, shift = rng.uniform(0.68, 0.95), rng.normal(0.0, turn), rng.uniform(-1.0, 1.0, 2)
    frame = size * SUPERSAMPLING
    side = frame * scale
    shape = (
        max(1, round(side * min(1.0, picture.width / picture.height))),
        max(1, round(side * min(1.0, picture.height / picture.width))),
    )
    placed = _with_cover(picture).resize(shape, Image.Resampling.LANCZOS)
    placed = placed.rotate(float(angle), Image.Resampling.BICUBIC, expand=True)
    room = 0.5 * (frame - side) + 0.04 * frame
    corner = [round((frame - length) / 2 + way * room) for length, way in zip(placed.size, shift, strict=True)]
    canvas = Image.new("RGBa", (frame, frame))
    canvas.paste(placed, (corner[0], corner[1]))
    return _filling(canvas, size)


def _with_cover(picture: Image.Image) -> Image.Image:
    """With colours multiplied by cover, so that resizing mixes nothing in from where there is no cover."""
    if picture.mode == "L":
        white = Image.new("RGBA", picture.size, "white")
        white.putalpha(picture)
        picture = white
    return picture.convert("RGBa")


def _filling(picture: Image.Image, size: int) -> Pixels:
    canvas = picture if picture.mode == "RGBa" else _with_cover(picture)
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX).convert("RGBA"), dtype=np.float64) / 255.0


def _surface(kind: str, amplitude: float, size: int, rng: np.random.Generator) -> Pixels:
    """The plate's brightness around 1, (size, size, 1): drawn at 32 pixels and enlarged."""
    coarse = rng.normal(0.0, 1.0, (32, 32))
    if kind == "plain":
        field = np.zeros((32, 32))
    elif kind == "stripes":
        field = np.repeat(coarse[:, :1], 32, axis=1)
    elif kind == "weave":
        field = (np.repeat(coarse[:, :1], 32, axis=1) + np.repeat(coarse[:1], 32, axis=0)) / np.sqrt(2.0)
    else:
        blotches = Image.fromarray(coarse[:6, :6].astype(np.float32)).resize((32, 32), Image.Resampling.BICUBIC)
        field = np.asarray(blotches, dtype=np.float64) * 1.4
    enlarged = Image.fromarray(field.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR)
    return 1.0 + amplitude * np.asarray(enlarged, dtype=np.float64)[..., None]


def _blurred(image: Pixels, sigma: float) -> Pixels:
    eight_bit = Image.fromarray((np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8))
    return np.asarray(eight_bit.filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float64) / 255.0
