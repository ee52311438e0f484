"""What a task is, and how its image folders are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gformer_cli.data.demo.drawn.camera import Camera, Pixels, draw_cameras

Painter = Callable[[str, np.random.Generator], Image.Image]
"""Gives a picture (mode L or RGBA) of a class, chosen or drawn with the generator."""


@dataclass(frozen=True)
class Task:
    """Domains by name, each with the painter of its pictures, and how many images of each class it gets."""

    name: str
    classes: tuple[str, ...]
    sources: dict[str, Painter]
    targets: dict[str, Painter]
    seed: int
    per_source: int = 55
    per_target: int = 32
    sizes: tuple[int, ...] = (32,)
    posed: bool = True
    """Whether the camera turns, scales and moves the pictures; full-frame pictures are not."""
    colours: int = 40
    """Colours of a stored 32 px image: noise is what a PNG's size is made of. Larger images keep twice as many."""

    def folders(self) -> dict[int, str]:
        """The folder of each size."""
        return {size: self.name if size == 32 else f"{self.name}-{size}" for size in self.sizes}


def write_task(task: Task, out: Path) -> int:
    """Write OUT/NAME/ROLE/DOMAIN/CLASS/NUMBER.png in every size of the task; returns the number of images.

    Every image has a generator of its own (seed, domain, class, number), so nothing depends on what else is written.
    """
    source_cameras, target_cameras = draw_cameras(len(task.sources), len(task.targets), task.seed)
    domains = [
        *_with_cameras("sources", task.sources, source_cameras, task.per_source),
        *_with_cameras("targets", task.targets, target_cameras, task.per_target),
    ]
    for at, (role, domain, painter, camera, count) in enumerate(domains):
        for size, folder in task.folders().items():
            for which, label in enumerate(task.classes):
                target = out / folder / role / domain / label
                target.mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    rng = np.random.default_rng([task.seed, at, which, number])
                    pixels = camera.photograph(painter(label, rng), size, rng, posed=task.posed)
                    save(pixels, target / f"{number:04d}.png", task.colours * (1 if size == 32 else 2))
    return len(task.classes) * len(task.sizes) * sum(count for *_, count in domains)


def _with_cameras(
    role: str, painters: dict[str, Painter], cameras: list[Camera], count: int
) -> list[tuple[str, str, Painter, Camera, int]]:
    return [(role, name, painters[name], camera, count) for name, camera in zip(painters, cameras, strict=True)]


def save(pixels: Pixels, path: Path, colours: int) -> None:
    """A PNG file of at most `colours` colours (up to 256), from pixels in [0, 1], (H, W, 3)."""
    image = Image.fromarray((pixels * 255.0 + 0.5).astype(np.uint8))
    image.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
