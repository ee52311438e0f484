"""Choose every method's settings on held-out source images under simulated shifts. Targets are never read."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.data.shifts import HELD_OUT_FAMILIES, Shift, draw_shift
from gformer_cli.data.streams import arrival_order
from gformer_cli.errors import WorkError
from gformer_cli.evaluate.parts import parts_of
from gformer_cli.evaluate.results import Choice
from gformer_cli.folders.domains import Domain
from gformer_cli.images.preprocessing import Decoded, read_images
from gformer_cli.methods import METHODS
from gformer_cli.progress import Progress
from gformer_cli.seeding import derive_seed

SHIFTS = 3
"""Simulated shifts that each source domain is seen under, besides none."""
IMAGES = 256
"""Most held-out images per domain."""
STRENGTH = 2.0
"""Of the shifts: at 1 most models are near their ceiling, and nothing can be chosen."""


@dataclass(frozen=True)
class TuningStream:
    """Images of one domain under one condition: pixels uint8 (N, 3, S, S), labels (N,)."""

    pixels: torch.Tensor
    labels: torch.Tensor
    shift: Shift | None


def tune(
    bundle: Bundle,
    source: Sequence[Domain],
    methods: Sequence[str],
    *,
    batch_size: int,
    device: torch.device,
    workers: int,
    keep: Callable[[str, Choice], None],
    progress: Progress,
) -> None:
    """Tell `keep` the best settings of each method that has any to choose, over streams of images of `source`.

    The figure is the mean accuracy over the streams; the defaults stay unless others are better. Raises `WorkError`
    where no image can be read.
    """
    grids = {name: _grid(METHODS[name].tunable) for name in methods if METHODS[name].tunable}
    if not grids:
        return
    bundle.to(device)
    bench = _Bench(bundle, list(_streams(bundle, source, workers)), batch_size, device)
    if not bench.streams:
        raise WorkError("no held-out source image to tune on", "See: gformer data check")
    progress.begin("tuning", sum(len(grid) + 1 for grid in grids.values()))
    for name, grid in grids.items():
        default = best = bench.accuracy(name, {})
        progress.advance(name)
        chosen: Mapping[str, Any] = {}
        for settings in grid:
            accuracy = bench.accuracy(name, settings)
            progress.advance(name)
            if accuracy > best:
                best, chosen = accuracy, settings
        keep(name, Choice(chosen, best, default, len(grid)))
    progress.end()


def _grid(tunable: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(tunable, values, strict=True)) for values in product(*tunable.values())]


def _streams(bundle: Bundle, source: Sequence[Domain], workers: int) -> Iterator[TuningStream]:
    """Per domain one stream as it is and `SHIFTS` under shifts of the held-out families."""
    index = {name: number for number, name in enumerate(bundle.header.classes)}
    bundle.look_into(source)
    for domain in source:
        rng = random.Random(derive_seed(0, "tune", domain.name))
        files = arrival_order(domain, 0)[:IMAGES]
        read = [item for item in read_images(files, bundle.preprocessing, workers=workers) if isinstance(item, Decoded)]
        if not read:
            continue
        pixels = torch.stack([item.pixels for item in read])
        labels = torch.tensor([index[str(item.file.label)] for item in read])
        for shift in [None] + [draw_shift(rng, HELD_OUT_FAMILIES, STRENGTH) for _ in range(SHIFTS)]:
            yield TuningStream(pixels, labels, shift)


@dataclass(frozen=True)
class _Bench:
    """Where settings are tried."""

    bundle: Bundle
    streams: Sequence[TuningStream]
    batch_size: int
    device: torch.device

    def accuracy(self, name: str, settings: Mapping[str, Any]) -> float:
        """Mean over the streams, with a reset before each."""
        method = METHODS[name].from_parts(parts_of(self.bundle), **settings)
        if method.reads_source:
            method.prepare(images for stream in self.streams if stream.shift is None for images, _ in self._cut(stream))
        accuracies: list[float] = []
        for stream in self.streams:
            method.reset()
            right = sum(
                int((method.predict(images).argmax(dim=1).cpu() == labels).sum())
                for images, labels in self._cut(stream)
            )
            accuracies.append(right / len(stream.labels))
        return sum(accuracies) / len(accuracies)

    def _cut(self, stream: TuningStream) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches as the network takes them: (B, 3, S, S) and labels (B,)."""
        for start in range(0, len(stream.labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            images = stream.pixels[part].to(self.device).float() / 255.0
            images = images if stream.shift is None else stream.shift(images)
            yield self.bundle.preprocessing.normalise(images), stream.labels[part]
