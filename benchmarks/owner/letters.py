"""Labels on parts: eight letters that look alike, as the cameras of three sites and of four unseen ones see them.

Letters are set in the fonts that matplotlib ships, turned, scaled, moved, and drawn on surfaces of each site's kind.
Images are of many sizes. Everything follows from the seed.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CLASSES = ("Q", "C", "R", "G", "O", "B", "P", "D")
"""In the owner's order, which is not the alphabet's."""
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono",
    "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique", "DejaVuSerif", "DejaVuSerif-Bold",
    "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic",
    "STIXGeneralBolIta", "cmb10", "cmmi10", "cmr10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip
SPLITS = {"train": 150, "validation": 25, "held-out": 40}
"""Images of each class and site. The owner trains on the first, stops by the second, and reports the third."""
UNSEEN = 50
"""Images of each class and unseen site."""

Pixels = NDArray[np.float64]
"""Height, width and colours; light in [0, 1]."""
Camera = Callable[[Image.Image, np.random.Generator], Pixels]
"""What a site makes of a drawn letter, whose ink is 255 on 0."""


def write(folder: Path, seed: int) -> int:
    """Write FOLDER/SPLIT/SITE/CLASS/IMAGE; returns how many images these are."""
    rng, count = np.random.default_rng(seed), 0
    parts = [(split, site, camera, images) for split, images in SPLITS.items() for site, camera in SITES.items()]
    parts += [("unseen", site, camera, UNSEEN) for site, camera in UNSEEN_SITES.items()]
    for split, site, camera, images in parts:
        for letter in CLASSES:
            into = folder / split / site / letter
            into.mkdir(parents=True)
            for number in range(images):
                pixels = np.clip(camera(letter_image(letter, rng), rng), 0.0, 1.0)
                picture = Image.fromarray((255.0 * pixels).round().astype(np.uint8))
                quality = 30 if site == "low-resolution" else 90
                picture.save(into / f"{number:04d}.jpg", quality=quality)
                count += 1
    return count


def letter_image(letter: str, rng: np.random.Generator) -> Image.Image:
    """A turned letter of any size, at about the middle of an image of 48 to 80 pixels a side."""
    width, height = (int(side) for side in rng.integers(48, 81, 2))
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{FONTS[rng.integers(len(FONTS))]}.ttf"
    short = min(width, height)
    font = ImageFont.truetype(str(path), round(short * rng.uniform(0.45, 0.85)))
    canvas = Image.new("L", (width, height))
    centre = width / 2 + short * rng.uniform(-0.1, 0.1), height / 2 + short * rng.uniform(-0.1, 0.1)
    ImageDraw.Draw(canvas).text(centre, letter, fill=255, font=font, anchor="mm")
    turned = canvas.rotate(rng.normal(0.0, 14.0), Image.Resampling.BICUBIC, center=centre)
    shear = rng.uniform(-0.25, 0.25)
    matrix = (1.0, shear, -shear * height / 2, 0.0, 1.0, 0.0)
    return turned.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)


def on(surface: Pixels, ink: Pixels, letter: Image.Image, blur: float = 0.0) -> Pixels:
    """The letter in a colour `ink` on a surface."""
    cover = levels(letter.filter(ImageFilter.GaussianBlur(blur)) if blur else letter)[..., None]
    return cover * ink + (1.0 - cover) * surface


def levels(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.float64) / 255.0


def plain(size: tuple[int, int], colour: Pixels) -> Pixels:
    """A surface of one colour; `size` is width and height, as PIL has it."""
    return np.broadcast_to(colour, (size[1], size[0], 3)).copy()


def colour(rng: np.random.Generator, low: float, high: float, saturation: float = 0.1) -> Pixels:
    """A grey of a level in that range, and a tint."""
    return np.clip(rng.uniform(low, high) + saturation * rng.normal(0.0, 1.0, 3), 0.0, 1.0)


def slope(size: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """From 0 at one side to 1 at the other, in any direction: (height, width, 1)."""
    down, across = np.mgrid[0.0 : 1.0 : size[1] * 1j, 0.0 : 1.0 : size[0] * 1j]
    angle = rng.uniform(0.0, 2.0 * math.pi)
    way = (down - 0.5) * math.sin(angle) + (across - 0.5) * math.cos(angle)
    return np.asarray((way - way.min()) / (way.max() - way.min()))[..., None]


def clouds(size: tuple[int, int], rng: np.random.Generator, grain: int) -> Pixels:
    """Smooth blotches around 0 with a standard deviation of about 1: (height, width, 1)."""
    small = Image.fromarray(rng.normal(0.0, 1.0, (size[1] // grain + 2, size[0] // grain + 2)).astype(np.float32))
    return np.asarray(small.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)[..., None]


def workbench(letter: Image.Image, rng: np.random.Generator) -> Pixels:
    """Dark print on stained card under a warm lamp."""
    card = plain(letter.size, colour(rng, 0.55, 0.85)) + 0.07 * clouds(letter.size, rng, 8)
    image = on(card, colour(rng, 0.05, 0.3), letter, blur=rng.uniform(0.4, 1.0))
    image *= np.array([1.0, 0.88, 0.68]) * (1.0 - 0.5 * slope(letter.size, rng))
    return image + rng.normal(0.0, 0.03, image.shape)


def yard(letter: Image.Image, rng: np.random.Generator) -> Pixels:
    """Paint of any colour on paint of any other in daylight, with a shadow's edge across it."""
    dark, light = colour(rng, 0.1, 0.4, 0.2), colour(rng, 0.55, 0.95, 0.2)
    ink, paint = (dark, light) if rng.random() < 0.5 else (light, dark)
    image = on(plain(letter.size, paint) + 0.04 * clouds(letter.size, rng, 3), ink, letter)
    shadow = slope(letter.size, rng) < rng.uniform(0.2, 0.8)
    image *= np.where(shadow, rng.uniform(0.45, 0.8), 1.0)
    return image + rng.normal(0.0, 0.02, image.shape)


def conveyor(letter: Image.Image, rng: np.random.Generator) -> Pixels:
    """Pale print on brushed metal that moves: stripes, noise, and blur along the belt."""
    metal = plain(letter.size, colour(rng, 0.2, 0.45, 0.03))
    metal *= 1.0 + 0.25 * rng.normal(0.0, 1.0, (letter.size[1], 1, 1))
    image = on(metal, colour(rng, 0.6, 0.9, 0.05), letter)
    length = int(rng.integers(2, 6))
    image = np.mean([np.roll(image, step, axis=1) for step in range(length)], axis=0)
    return np.asarray(image) + rng.normal(0.0, 0.05, image.shape)


def night(letter: Image.Image, rng: np.random.Generator) -> Pixels:
    """Little light, bluish, and a sensor that amplifies its noise."""
    wall = plain(letter.size, colour(rng, 0.3, 0.5)) + 0.05 * clouds(letter.size, rng, 8)
    image = on(wall, colour(rng, 0.75, 0.95), letter, blur=0.6)
    lamp = 0.18 + 0.35 * (1.0 - slope(letter.size, rng)) ** 2
    return image * lamp * np.array([0.8, 0.9, 1.2]) + rng.normal(0.0, 0.06, image.shape)


def fog(letter: Image.Image, rng: np.random.Generator) -> Pixels:
    """Pale and out of focus."""
    dark, light = colour(rng, 0.1, 0.35), colour(rng, 0.6, 0.9)
    ink, wall = (dark, light) if rng.random() < 0.5 else (light, dark)
    image = on(plain(letter.size, wall), ink, letter, blur=rng.uniform(1.0, 1.8))
    haze = np.clip(0.6 + 0.08 * clouds(letter.size, rng, 20), 0.4, 0.8)
    return image * (1.0 - haze) + 0.85 * haze + rng.normal(0.0, 0.02, image.shape)


def other_camera(letter: Image.Image, rng: np.random.Generator) -> Pixels:
    """The workbench again, by a camera that is balanced for other light, too contrasty, and dark at its corners."""
    image = np.clip(workbench(letter, rng), 0.0, 1.0)
    image = image * np.array([0.55, 0.95, 1.5]) + np.array([0.0, 0.05, 0.15])
    image = np.clip(0.5 + 1.5 * (image - 0.5), 0.0, 1.0) ** 1.4
    down, across = np.mgrid[-1.0 : 1.0 : letter.size[1] * 1j, -1.0 : 1.0 : letter.size[0] * 1j]
    image *= (1.0 - 0.35 * (down**2 + across**2))[..., None]
    return image + rng.normal(0.0, 0.06, image.shape)


def low_resolution(letter: Image.Image, rng: np.random.Generator) -> Pixels:
    """Either of two sites from far away: few pixels, enlarged again, and compressed hard."""
    image = np.clip((workbench if rng.random() < 0.5 else yard)(letter, rng), 0.0, 1.0)
    picture = Image.fromarray((255.0 * image).astype(np.uint8))
    share = rng.uniform(0.2, 0.3)
    small = picture.resize((round(share * letter.size[0]), round(share * letter.size[1])), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.resize(letter.size, Image.Resampling.BILINEAR).save(buffer, "jpeg", quality=20)
    return levels(Image.open(buffer))


SITES: dict[str, Camera] = {"workbench": workbench, "yard": yard, "conveyor": conveyor}
UNSEEN_SITES: dict[str, Camera] = {
    "night": night, "fog": fog, "other-camera": other_camera, "low-resolution": low_resolution
}  # fmt: skip
