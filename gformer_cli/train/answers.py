"""What a source model answers to images in a folder, as it is: no adapting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch

from gformer_cli.compute.pace import Pace
from gformer_cli.core.backbone import Backbone
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.preprocessing import Decoded, Preprocessing, Skipped, read_images

_BATCH = 32
"""Images that are looked at together; no answer depends on the others."""


@torch.no_grad()
def answers(
    backbone: Backbone,
    files: Sequence[ImageFile],
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    workers: int,
    pace: Pace,
) -> Iterator[tuple[ImageFile, int | Skipped]]:
    """Each file, in order, with the index of the class that the model answers, or the reason why it is skipped."""
    reads = read_images(files, preprocessing, workers=workers)
    for start in range(0, len(files), _BATCH):
        batch = list(islice(reads, _BATCH))
        pixels = [item.pixels for item in batch if isinstance(item, Decoded)]
        found: Iterator[int] = iter(())
        if pixels:
            with pace.step(len(pixels)):
                logits = backbone(preprocessing.network_input(torch.stack(pixels), device))
                found = iter(logits.argmax(dim=1).tolist())
        for file, item in zip(files[start : start + _BATCH], batch, strict=True):
            yield file, item if isinstance(item, Skipped) else next(found)
