"""What a header says of a model, whatever predicts with it: a bundle or a file that was exported from one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from gformer_cli.bundle.header import BundleHeader, TemperaturesHeader
from gformer_cli.compute.memory import free_memory
from gformer_cli.core.estimators import Fitted
from gformer_cli.core.temperature import Temperatures
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain
from gformer_cli.guard.rule import Guard
from gformer_cli.images.depth import Depth, Levels
from gformer_cli.images.preprocessing import Preprocessing


class Described:
    """How images are prepared for a model, and how its guard decides."""

    header: BundleHeader
    path: Path | None
    """The file that it was read from."""
    image_bytes: int
    """What an image takes of memory in the network's widest layer alone."""
    depth: Depth
    """What is black and white in images of more than 8 bits: as in training, or as the user says."""

    def look_into(self, domains: Sequence[Domain]) -> None:
        """From now on images of `domains` that have more than 8 bits are read by what their folder holds."""
        self.depth = self.preprocessing.among(domains).depth

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing.of(self.header.preprocessing, self.depth)

    @property
    def guard(self) -> Guard | None:
        """The guard as it was calibrated, where there is one."""
        return None if self.header.guard is None else self.header.guard.rule

    @property
    def temperatures(self) -> Temperatures:
        """What logits are divided by before they become probabilities."""
        found = self.header.temperatures
        return Temperatures() if found is None else Temperatures(found.source, found.adapted)

    def estimators(self, share: float) -> Fitted | None:
        """What guesses of accuracy go by, of answers under parameters of which the `share` was generated.

        None where nothing was fitted, as in bundles of before.
        """
        found = {} if self.header.temperatures is None else self.header.temperatures.estimators
        if len(found) < 2:
            return None
        sides = found["source"], found["adapted"]
        source, adapted = (Fitted(side.confidence, side.entropy, side.dropout, side.missed) for side in sides)
        return source.towards(adapted, share)

    def set_temperature(self, temperature: float) -> None:
        """From now on `temperature` is that of the source model's answers and of adapted ones.

        What estimators go by was fitted at others, and is gone.
        """
        said = TemperaturesHeader(source=temperature, adapted=temperature, images=0)
        self.header = self.header.model_copy(update={"temperatures": said})

    def check_memory(self, images: int, device: torch.device) -> None:
        """Raises `InputError` where a batch of so many `images` cannot fit in memory: a header may claim any size."""
        free, needed = free_memory(device), images * self.image_bytes
        if free is not None and needed > free:
            size = self.header.preprocessing.image_size
            most = free // self.image_bytes
            raise InputError(
                f"a batch of {images} images of {size} x {size} takes at least {needed / 1e9:.1f} GB of memory, and "
                f"{free / 1e9:.1f} GB are free",
                f"Use --batch-size {most} or less." if most else "Free some memory.",
            )


def depth_of(header: BundleHeader) -> Depth:
    """What is black and white as `header` has it."""
    levels = {kind: Levels(*pair) for kind, pair in header.levels.items()}
    return Depth(header.preprocessing.white_level, levels)


def with_white_level(header: BundleHeader, white_level: float | None) -> BundleHeader:
    """`header` with the user's `white_level` in the place of its own, where there is one."""
    if white_level is None:
        return header
    changed = header.preprocessing.model_copy(update={"white_level": white_level})
    return header.model_copy(update={"preprocessing": changed})
