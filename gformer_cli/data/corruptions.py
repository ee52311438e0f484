"""Corruptions: named conditions at five severities, for those who have no labelled target yet.

The idea is that of Hendrycks and Dietterich 2019 (arXiv 1903.12261); operations and strengths are our own, made for
any image size, so results compare with each other and not with published tables. What belongs to the condition (the
direction of a blur, the side that light comes from) is drawn from the seed and shared by all images. What differs from
image to image (noise, clouds, flakes) is drawn from the seed and the image's position: it does not depend on batches.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from gformer_cli.data import operations
from gformer_cli.seeding import derive_seed

SEVERITIES = range(1, 6)
_MOST_VIEWS = 64
"""Of a zoom: a step is then a hundredth of the side at most."""


@dataclass(frozen=True)
class Draws:
    """The random numbers behind one call: the same for every severity, whatever the global random state."""

    seed: int
    positions: Sequence[int]
    """The position of each image in its data set."""

    def condition(self) -> random.Random:
        """A generator for what all images share; each call starts it anew."""
        return random.Random(self.seed)

    def uniform(self, *shape: int) -> torch.Tensor:
        """Draws from [0, 1) for each image: (B, *shape), float32 on the CPU."""
        return torch.stack([torch.rand(shape, generator=self._generator(position)) for position in self.positions])

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal draws for each image: (B, *shape), float32 on the CPU."""
        return torch.stack([torch.randn(shape, generator=self._generator(position)) for position in self.positions])

    def seeds(self) -> list[int]:
        """A seed for each image."""
        return [derive_seed(self.seed, position) for position in self.positions]

    def _generator(self, position: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.seed, position))


Operation = Callable[[torch.Tensor, float, Draws], torch.Tensor]
"""Images (B, 3, H, W), the level of one severity, and draws, to images; the caller clamps them."""


@dataclass(frozen=True)
class Corruption:
    """One way in which images may be worse or other than those that a model was trained on."""

    group: str
    name: str
    operation: Operation
    levels: tuple[float, float, float, float, float]
    """What `operation` is told at severities 1 to 5; its docstring gives the unit."""

    def __call__(
        self, images: torch.Tensor, *, severity: int, seed: int, positions: Sequence[int] | None = None
    ) -> torch.Tensor:
        """Images (B, 3, H, W) in [0, 1], at least one, as they look under this condition, in [0, 1].

        The same seed gives the same condition. `positions` numbers the images within their data set (0, 1, ... unless
        given), so that an image looks the same in whatever batch it comes. Raises `ValueError` for a severity other
        than 1 to 5, or when the positions are not one for each image.
        """
        if severity not in SEVERITIES:
            raise ValueError(f"severity must be from 1 to 5, got {severity}")
        positions = range(len(images)) if positions is None else positions
        if len(positions) != len(images):
            raise ValueError(f"{len(images)} images but {len(positions)} positions")
        draws = Draws(derive_seed(seed, self.name), positions)
        return self.operation(images, self.levels[severity - 1], draws).clamp(0.0, 1.0)


def _gaussian_noise(images: torch.Tensor, deviation: float, draws: Draws) -> torch.Tensor:
    """Level: standard deviation, where white is 1."""
    return images + deviation * draws.normal(*images.shape[1:]).to(images)


def _shot_noise(images: torch.Tensor, photons: float, draws: Draws) -> torch.Tensor:
    """Level: photons counted at white."""
    return operations.shot_noise(images, photons, draws.normal(*images.shape[1:]).to(images))


def _impulse_noise(images: torch.Tensor, share: float, draws: Draws) -> torch.Tensor:
    """Level: share of values that are lost, half of them to black and half to white."""
    chance = draws.uniform(*images.shape[1:]).to(images)
    return images.masked_fill(chance < share / 2.0, 0.0).masked_fill(chance > 1.0 - share / 2.0, 1.0)


def _defocus(images: torch.Tensor, radius: float, draws: Draws) -> torch.Tensor:
    """Level: radius of the disc that a point becomes, in sides of the image."""
    pixels = radius * _side(images)
    down, across = _offsets(images, pixels)
    # the disc's rim falls off over one pixel: a radius under a pixel blurs as well, only less
    return operations.convolve(images, _normalised(pixels + 1.0 - torch.hypot(down, across)))


def _motion_blur(images: torch.Tensor, length: float, draws: Draws) -> torch.Tensor:
    """Level: length of the line that a point becomes, in sides of the image. The condition: its direction."""
    angle = draws.condition().uniform(0.0, math.pi)
    return operations.convolve(images, _line(images, length * _side(images), angle))


def _zoom_blur(images: torch.Tensor, zoom: float, draws: Draws) -> torch.Tensor:
    """Level: how much larger the image becomes while the shutter is open."""
    # from one view to the next the border moves by at most two pixels, or the blur would fall apart into copies; of a
    # large image by more, which is nothing beside its size
    steps = min(_MOST_VIEWS, 1 + math.ceil((zoom - 1.0) * _side(images) / 4.0))
    views = (operations.affine(images, scale=1.0 / (1.0 + (zoom - 1.0) * step / steps)) for step in range(1, steps + 1))
    return sum(views, images) / (steps + 1)


def _fog(images: torch.Tensor, density: float, draws: Draws) -> torch.Tensor:
    """Level: mean share of scattered light; clouds make it half to one and a half times as much."""
    clouds = torch.zeros(1)
    for octave in range(3):
        cells = draws.uniform(1, 2 ** (octave + 1), 2 ** (octave + 1))
        clouds = clouds + _stretched(cells, images) / 2 ** (octave + 1)
    veil = density * (0.5 + clouds / (1.0 - 1.0 / 8.0)).to(images)
    return images + veil * (0.9 - images)


def _snow(images: torch.Tensor, share: float, draws: Draws) -> torch.Tensor:
    """Level: share of the view with a flake in it."""
    return _falling(images, draws, share=share, cells=40, streak=0.03, opacity=0.9)


def _rain(images: torch.Tensor, share: float, draws: Draws) -> torch.Tensor:
    """Level: share of the view in which a drop's streak starts."""
    return _falling(images, draws, share=share, cells=96, streak=0.15, opacity=0.6)


def _falling(
    images: torch.Tensor, draws: Draws, *, share: float, cells: int, streak: float, opacity: float
) -> torch.Tensor:
    """Bright particles, one `cells`-th of the side (a pixel at least) wide, on streaks `streak` sides long."""
    height, width = (max(1, round(length / max(1.0, _side(images) / cells))) for length in images.shape[-2:])
    # a particle is where chance exceeds a threshold, so those of a lower severity stay at a higher one
    particles = _stretched((draws.uniform(1, height, width) > 1.0 - share).float(), images).to(images)
    angle = math.pi / 2.0 + draws.condition().uniform(-0.5, 0.5)
    length = streak * _side(images)
    # a streak spreads a particle's light over its length; the square root keeps part of its brightness
    bright = operations.convolve(particles, _line(images, length, angle)) * math.sqrt(max(1.0, length))
    return images + opacity * bright.clamp(0.0, 1.0) * (1.0 - images)


def _uneven_light(images: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Level: how fast light falls off, as in `operations.vignette`. The condition: where the lamp is."""
    angle = draws.condition().uniform(0.0, 2.0 * math.pi)
    return operations.vignette(images, strength, (0.8 * math.sin(angle), 0.8 * math.cos(angle)))


def _jpeg(images: torch.Tensor, quality: float, draws: Draws) -> torch.Tensor:
    """Level: JPEG quality."""
    decoded = []
    for pixels in (images * 255.0).round().to("cpu", torch.uint8).permute(0, 2, 3, 1):
        file = io.BytesIO()
        Image.fromarray(pixels.numpy()).save(file, "JPEG", quality=int(quality))
        decoded.append(torch.from_numpy(np.array(Image.open(file))))
    return torch.stack(decoded).permute(0, 3, 1, 2).to(images) / 255.0


def _pixelate(images: torch.Tensor, share: float, draws: Draws) -> torch.Tensor:
    """Level: share of rows, and of columns, that is left."""
    height, width = (max(1, round(share * length)) for length in images.shape[-2:])
    return operations.pixelate(images, (height, width))


def _posterise(images: torch.Tensor, values: float, draws: Draws) -> torch.Tensor:
    """Level: values that a channel can have."""
    return operations.posterise(images, int(values))


def _brighter(images: torch.Tensor, light: float, draws: Draws) -> torch.Tensor:
    """Level: light added everywhere; what is near white saturates."""
    return images + light


def _darker(images: torch.Tensor, gain: float, draws: Draws) -> torch.Tensor:
    """Level: share of the light that is left."""
    return images * gain


def _low_contrast(images: torch.Tensor, factor: float, draws: Draws) -> torch.Tensor:
    """Level: share of the contrast that is left, around each image's own mean."""
    return operations.contrast(images, factor, images.mean(dim=(1, 2, 3), keepdim=True))


def _colour_cast(images: torch.Tensor, strength: float, draws: Draws) -> torch.Tensor:
    """Level: strength of the tint, in nepers between strongest and weakest channel. The condition: its hue."""
    hue = draws.condition().uniform(0.0, 2.0 * math.pi)
    waves = [math.cos(hue + channel * 2.0 * math.pi / 3.0) for channel in range(3)]
    spread = max(waves) - min(waves)
    # the strongest channel keeps its light, so that white is tinted as well and does not saturate
    return operations.colour_cast(images, [math.exp(strength * (wave - max(waves)) / spread) for wave in waves])


def _negative(images: torch.Tensor, factor: float, draws: Draws) -> torch.Tensor:
    """Level: contrast of the negative. There is no half-way to a negative but plain grey."""
    return operations.contrast(images, -factor, 0.5)


def _rotation(images: torch.Tensor, degrees: float, draws: Draws) -> torch.Tensor:
    """Level: angle in degrees. The condition: to which side."""
    return operations.affine(images, angle=math.radians(degrees) * _sign(draws))


def _closer(images: torch.Tensor, zoom: float, draws: Draws) -> torch.Tensor:
    """Level: how many times as large things look; the border is cut off."""
    return operations.affine(images, scale=1.0 / zoom)


def _farther(images: torch.Tensor, zoom: float, draws: Draws) -> torch.Tensor:
    """Level: how many times as small things look; the edge repeats around them."""
    return operations.affine(images, scale=zoom)


def _shear(images: torch.Tensor, slant: float, draws: Draws) -> torch.Tensor:
    """Level: tangent of the slant. The condition: to which side."""
    return operations.affine(images, shear=slant * _sign(draws))


CORRUPTIONS: dict[str, Corruption] = {
    corruption.name: corruption
    for corruption in (
        Corruption("noise", "gaussian-noise", _gaussian_noise, (0.05, 0.09, 0.14, 0.20, 0.30)),
        Corruption("noise", "shot-noise", _shot_noise, (60, 25, 12, 6, 3)),
        Corruption("noise", "impulse-noise", _impulse_noise, (0.02, 0.05, 0.09, 0.15, 0.25)),
        Corruption("blur", "defocus", _defocus, (0.012, 0.02, 0.03, 0.042, 0.06)),
        Corruption("blur", "motion-blur", _motion_blur, (0.05, 0.08, 0.12, 0.17, 0.24)),
        Corruption("blur", "zoom-blur", _zoom_blur, (1.08, 1.14, 1.2, 1.28, 1.4)),
        Corruption("weather", "fog", _fog, (0.2, 0.3, 0.42, 0.54, 0.66)),
        Corruption("weather", "snow", _snow, (0.02, 0.05, 0.09, 0.14, 0.22)),
        Corruption("weather", "rain", _rain, (0.01, 0.02, 0.04, 0.07, 0.11)),
        Corruption("weather", "uneven-light", _uneven_light, (0.15, 0.3, 0.5, 0.8, 1.2)),
        Corruption("digital", "jpeg", _jpeg, (40, 25, 15, 10, 6)),
        Corruption("digital", "pixelate", _pixelate, (0.5, 0.42, 0.34, 0.27, 0.2)),
        Corruption("digital", "posterise", _posterise, (12, 7, 5, 3, 2)),
        Corruption("photometric", "brighter", _brighter, (0.1, 0.2, 0.3, 0.42, 0.55)),
        Corruption("photometric", "darker", _darker, (0.7, 0.5, 0.35, 0.22, 0.12)),
        Corruption("photometric", "low-contrast", _low_contrast, (0.7, 0.5, 0.35, 0.22, 0.12)),
        Corruption("photometric", "colour-cast", _colour_cast, (0.3, 0.6, 1.0, 1.5, 2.2)),
        Corruption("photometric", "negative", _negative, (0.4, 0.55, 0.7, 0.85, 1.0)),
        Corruption("geometric", "rotation", _rotation, (6, 12, 19, 27, 36)),
        Corruption("geometric", "closer", _closer, (1.08, 1.16, 1.27, 1.4, 1.6)),
        Corruption("geometric", "farther", _farther, (1.08, 1.16, 1.27, 1.4, 1.6)),
        Corruption("geometric", "shear", _shear, (0.08, 0.16, 0.25, 0.36, 0.5)),
    )
}
"""Every corruption by its name, those of a group together."""


def _side(images: torch.Tensor) -> int:
    """The shorter side in pixels: lengths are given relative to it."""
    return min(images.shape[-2:])


def _sign(draws: Draws) -> float:
    return draws.condition().choice((-1.0, 1.0))


def _stretched(cells: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """`cells` (B, C, h, w) interpolated to the height and width of `images`."""
    return F.interpolate(cells, size=images.shape[-2:], mode="bilinear", align_corners=False)


def _offsets(images: torch.Tensor, reach: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels down (n, 1) and across (1, n) from the middle of a filter that reaches so many pixels, and one more."""
    radius = math.ceil(reach) + 1
    steps = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    return steps[:, None], steps[None, :]


def _line(images: torch.Tensor, length: float, angle: float) -> torch.Tensor:
    """A filter that draws each point out to a line of `length` pixels, with ends and sides one pixel soft."""
    down, across = _offsets(images, length / 2.0)
    along = across * math.cos(angle) + down * math.sin(angle)
    beside = across * math.sin(angle) - down * math.cos(angle)
    return _normalised((length / 2.0 + 1.0 - along.abs()).clamp(0.0, 1.0) * (1.0 - beside.abs()).clamp_min(0.0))


def _normalised(weights: torch.Tensor) -> torch.Tensor:
    """Weights cut to [0, 1], then scaled to the sum 1."""
    cut = weights.clamp(0.0, 1.0)
    return cut / cut.sum()
