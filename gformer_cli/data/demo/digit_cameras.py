"""`digit-cameras`: an inspection line reads digits under changing cameras and light.

Four camera conditions are sources; four further conditions of *other* digits, and a different scanner
(scikit-learn's optical digits), are targets that nothing is ever trained on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from gformer_cli.data.demo.digits import DemoImage, Digits, Pixels, mnist_digits, optical_digits

SIZE = 32
"""Height and width of an image in pixels."""
SOURCE_DIGITS = 3000
TARGET_DIGITS = 1600
SCANNER_DIGITS = 400


@dataclass(frozen=True)
class Camera:
    """One condition. Light levels are in [0, 1]; every image jitters around them a little."""

    ink: tuple[float, float, float] = (1.0, 1.0, 1.0)
    plate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    blur: float = 0.0
    """Standard deviation of the defocus, in pixels."""
    gradient: float = 0.0
    """How much darker the far side of the plate is."""
    texture: float = 0.0
    """Amplitude of the brushed-metal stripes."""
    glare: float = 0.0
    """Brightness of a round reflection at a random place."""
    haze: float = 0.0
    """Share of scattered white light."""
    light: float = 1.0
    """Overall exposure."""
    noise: float = 0.0
    """Standard deviation of the sensor noise."""

    def photograph(self, digit: Pixels, rng: np.random.Generator) -> Pixels:
        """A digit (32, 32), ink 1 on 0, as this camera sees it: (32, 32, 3) in [0, 1]."""
        if self.blur:
            digit = _blurred(digit, self.blur * rng.uniform(0.8, 1.2))
        ink = np.clip(np.array(self.ink) + rng.normal(0.0, 0.03, 3), 0.0, 1.0)
        plate = np.clip(np.array(self.plate) + rng.normal(0.0, 0.03, 3), 0.0, 1.0)
        down, across = np.mgrid[0:SIZE, 0:SIZE] / (SIZE - 1.0)
        surface = np.ones((SIZE, SIZE))
        if self.texture:
            stripes = np.repeat(rng.normal(0.0, 1.0, (SIZE, 1)), SIZE, axis=1)
            surface = surface + self.texture * stripes
        image = digit[..., None] * ink + (1.0 - digit[..., None]) * plate * surface[..., None]
        if self.gradient:
            angle = rng.uniform(0.0, 2.0 * np.pi)
            slope = (down - 0.5) * np.sin(angle) + (across - 0.5) * np.cos(angle)
            image = image * (1.0 - self.gradient * (slope + 0.5))[..., None]
        if self.glare:
            centre = rng.uniform(0.15, 0.85, 2)
            spot = np.exp(-((down - centre[0]) ** 2 + (across - centre[1]) ** 2) / (2 * 0.18**2))
            image = image + self.glare * spot[..., None]
        haze = self.haze * rng.uniform(0.9, 1.1)
        image = (image * (1.0 - haze) + haze) * self.light * rng.uniform(0.9, 1.1)
        image = image + rng.normal(0.0, self.noise, image.shape) if self.noise else image
        return np.asarray(np.clip(image, 0.0, 1.0))


SOURCES = {
    "daylight": Camera(ink=(0.95, 0.95, 0.95), plate=(0.10, 0.10, 0.12), noise=0.02),
    "tungsten": Camera(ink=(0.85, 0.70, 0.45), plate=(0.30, 0.20, 0.10), gradient=0.5, noise=0.03),
    "brushed-steel": Camera(ink=(0.80, 0.88, 0.95), plate=(0.30, 0.34, 0.40), texture=0.25, noise=0.02),
    "soft-focus": Camera(ink=(0.75, 0.85, 0.70), plate=(0.12, 0.16, 0.12), blur=1.0, noise=0.03),
}

TARGETS = {
    "dim-night": Camera(ink=(0.80, 0.80, 0.90), plate=(0.12, 0.12, 0.16), light=0.35, noise=0.08),
    "fog": Camera(ink=(0.90, 0.90, 0.90), plate=(0.15, 0.15, 0.15), blur=0.7, haze=0.62, noise=0.03),
    "glare": Camera(ink=(0.85, 0.85, 0.80), plate=(0.25, 0.25, 0.22), glare=0.9, gradient=0.4, noise=0.02),
    "inverted": Camera(ink=(0.15, 0.15, 0.18), plate=(0.80, 0.80, 0.76), gradient=0.15, noise=0.03),
}
SCANNER = "scanner"


def render(seed: int) -> Iterator[DemoImage]:
    """Every image of the data set; the same `seed` gives the same pixels."""
    source, target = mnist_digits(seed).split(SOURCE_DIGITS, TARGET_DIGITS)
    rng = np.random.default_rng(seed)
    yield from _photographs("sources", SOURCES, source, rng)
    yield from _photographs("targets", TARGETS, target, rng)
    (scanned,) = optical_digits(seed).split(SCANNER_DIGITS)
    for number, label, image in zip(scanned.numbers, scanned.labels, scanned.images, strict=True):
        yield DemoImage("targets", SCANNER, str(label), f"optical-{number:04d}", _canvas(image, side=24))


def _photographs(
    role: str, cameras: dict[str, Camera], digits: Digits, rng: np.random.Generator
) -> Iterator[DemoImage]:
    parts = digits.split(*[len(digits.labels) // len(cameras)] * len(cameras))
    for (domain, camera), part in zip(cameras.items(), parts, strict=True):
        for number, label, image in zip(part.numbers, part.labels, part.images, strict=True):
            pixels = camera.photograph(_canvas(image, side=28), rng)
            yield DemoImage(role, domain, str(label), f"mnist-{number:04d}", pixels)


def _canvas(digit: Pixels, side: int) -> Pixels:
    """A digit scaled to `side` pixels in the middle of a black image of `SIZE` pixels."""
    image = Image.fromarray((digit * 255.0).astype(np.uint8))
    canvas = Image.new("L", (SIZE, SIZE))
    canvas.paste(image.resize((side, side), Image.Resampling.BICUBIC), ((SIZE - side) // 2,) * 2)
    return np.asarray(canvas, dtype=np.float64) / 255.0


def _blurred(image: Pixels, sigma: float) -> Pixels:
    picture = Image.fromarray((image * 255.0).astype(np.uint8)).filter(ImageFilter.GaussianBlur(sigma))
    return np.asarray(picture, dtype=np.float64) / 255.0
