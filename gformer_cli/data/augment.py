"""Augmentation of source images while the source model is trained (not a simulated shift: see `shifts.py`)."""

from __future__ import annotations

import torch
from torchvision.transforms import v2


def make_augmentation(*, image_size: int, crop: float, flip: bool, jitter: float) -> v2.Transform:
    """A random transform of one uint8 image (3, S, S). It draws from torch's global generator."""
    steps: list[torch.nn.Module] = []
    if crop < 1.0:
        steps.append(v2.RandomResizedCrop(image_size, scale=(crop, 1.0), ratio=(0.9, 1.1), antialias=True))
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if jitter > 0.0:
        steps.append(v2.ColorJitter(jitter, jitter, jitter))
    return v2.Compose(steps or [v2.Identity()])


def augment(transform: v2.Transform, pixels: torch.Tensor, seed: int) -> torch.Tensor:
    """Each image of uint8 (B, 3, S, S) under its own draw; the same seed gives the same images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.stack([transform(image) for image in pixels])
