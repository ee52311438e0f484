"""The demo's digits as tasks: `gformer data demo NAME`, and of that an even share of each class and domain."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.universal.tasks.task import save
from gformer_cli.data.demo.write import RENDERERS

PER_SOURCE = {"digit-cameras": 45, "rotated-mnist": 48}
PER_TARGET = {"digit-cameras": 24, "rotated-mnist": 40}
COLOURS = 32


def write_digits(name: str, out: Path) -> int:
    """Write OUT/NAME/ROLE/DOMAIN/DIGIT/NUMBER.png; returns the number of images."""
    written: Counter[tuple[str, str, str]] = Counter()
    for image in RENDERERS[name](0):
        key = (image.role, image.domain, image.label)
        if written[key] < (PER_SOURCE if image.role == "sources" else PER_TARGET)[name]:
            folder = out / name / image.role / image.domain / image.label
            folder.mkdir(parents=True, exist_ok=True)
            save(image.pixels, folder / f"{written[key]:04d}.png", COLOURS)
            written[key] += 1
    return written.total()
