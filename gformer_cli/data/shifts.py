"""Simulated shifts: what another site, camera or hour may do to an image, drawn at random.

A shift is drawn once and applied to a whole batch, because a domain is a condition that its images share.
Meta-training draws from `TRAINING_FAMILIES`, validation from `HELD_OUT_FAMILIES`: the generator is selected
under shifts that it was not trained on. Images are float (B, 3, H, W) in [0, 1] before normalisation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from gformer_cli.data import operations

Transform = Callable[[torch.Tensor, random.Random, float], torch.Tensor]


def _exposure(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    return images * math.exp(rng.uniform(-1.2, 0.8) * strength)


def _contrast(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    return operations.contrast(images, math.exp(rng.uniform(-1.2, 0.6) * strength), images.mean())


def _gamma(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    power: float = math.exp(rng.uniform(-0.9, 0.9) * strength)
    return images.pow(power)


def _cast(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    return operations.colour_cast(images, [math.exp(rng.uniform(-0.6, 0.6) * strength) for _ in range(3)])


def _saturation(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    grey = (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return grey + (images - grey) * (1.0 + rng.uniform(-1.0, 1.0) * strength)


def _gaussian_blur(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    sigma = rng.uniform(0.3, 1.5) * strength * images.shape[-1] / 32.0
    radius = max(1, math.ceil(3.0 * sigma))
    steps = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    taps = torch.exp(-0.5 * (steps / max(sigma, 1e-3)) ** 2)
    taps = taps / taps.sum()
    return operations.convolve(operations.convolve(images, taps[None, :]), taps[:, None])


def _gaussian_noise(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    return images + rng.uniform(0.02, 0.2) * strength * _normal(images, rng)


def _shot_noise(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    photons: float = 400.0 ** (1.0 - rng.uniform(0.0, 0.6) * strength)
    return operations.shot_noise(images, photons, _normal(images, rng))


def _affine(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    angle = math.radians(rng.uniform(-30.0, 30.0) * strength)
    scale = math.exp(rng.uniform(-0.25, 0.25) * strength)
    shear = math.tan(math.radians(rng.uniform(-15.0, 15.0) * strength))
    move = (rng.uniform(-0.15, 0.15) * strength, rng.uniform(-0.15, 0.15) * strength)
    return operations.affine(images, angle=angle, scale=scale, shear=shear, move=move)


def _random_convolution(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    # RandConv (Xu et al. 2021, arXiv 2007.13003): colours and texture change, shapes stay
    size = rng.choice((1, 3))
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    kernel = torch.randn(3, 3, size, size, generator=generator) / math.sqrt(3.0 * size * size)
    middle = images.mean(dim=(0, 2, 3), keepdim=True)
    pad = (size // 2,) * 4
    styled = F.conv2d(F.pad(images - middle, pad, mode="replicate"), kernel.to(images)) + middle
    return torch.lerp(images, styled, min(1.0, rng.uniform(0.2, 1.0) * strength))


def _vignette(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    centre = (rng.uniform(-0.6, 0.6), rng.uniform(-0.6, 0.6))
    return operations.vignette(images, rng.uniform(0.3, 1.2) * strength, centre)


def _pixelate(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    side = max(4, round(images.shape[-1] * (1.0 - rng.uniform(0.3, 0.7) * min(strength, 1.2))))
    return operations.pixelate(images, (side, side))


def _posterise(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    bits: float = 5.0 - rng.uniform(1.0, 3.5) * strength
    return operations.posterise(images, max(2, round(2.0**bits)))


def _motion_blur(images: torch.Tensor, rng: random.Random, strength: float) -> torch.Tensor:
    length = max(3, round(rng.uniform(0.05, 0.2) * strength * images.shape[-1]) | 1)
    taps = images.new_full((length,), 1.0 / length)
    return operations.convolve(images, taps[None, :] if rng.random() < 0.5 else taps[:, None])


FAMILIES: dict[str, tuple[Transform, ...]] = {
    "photometric": (_exposure, _contrast, _gamma, _cast, _saturation),
    "blur": (_gaussian_blur,),
    "noise": (_gaussian_noise, _shot_noise),
    "geometric": (_affine,),
    "style": (_random_convolution,),
    "vignette": (_vignette,),
    "pixelate": (_pixelate,),
    "posterise": (_posterise,),
    "motion-blur": (_motion_blur,),
}
TRAINING_FAMILIES = ("photometric", "blur", "noise", "geometric", "style")
HELD_OUT_FAMILIES = ("vignette", "pixelate", "posterise", "motion-blur")


@dataclass(frozen=True)
class Shift:
    """One drawn condition: a seed that fixes its parameters, the families in it, and a strength."""

    families: tuple[str, ...]
    strength: float
    seed: int

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) in [0, 1] under this condition, in [0, 1]. The same call gives the same pixels."""
        rng = random.Random(self.seed)
        for family in self.families:
            transform = rng.choice(FAMILIES[family])
            images = transform(images, rng, self.strength).clamp(0.0, 1.0)
        return images


def draw_shift(rng: random.Random, families: Sequence[str], strength: float) -> Shift:
    """One to three of `families`, in random order."""
    count = rng.randint(1, min(3, len(families)))
    return Shift(tuple(rng.sample(list(families), count)), strength, rng.getrandbits(32))


def _normal(images: torch.Tensor, rng: random.Random) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rng.getrandbits(32))
    return torch.randn(images.shape, generator=generator).to(images)
