"""Logits of a bundle's source model, from gformer's own reading of the images, to hold against the owner's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gformer_cli.bundle import load_bundle
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.preprocessing import Decoded, read_images


@torch.inference_mode()
def of_bundle(file: Path, images: Sequence[Path]) -> Tensor:
    """The unadapted model's: (images, classes). An unreadable image is a `ValueError`."""
    bundle = load_bundle(file)
    found = []
    for read in read_images([ImageFile(path.parent, path.name) for path in images], bundle.preprocessing, workers=0):
        if not isinstance(read, Decoded):
            raise ValueError(read.reason)
        found.append(bundle.backbone(bundle.preprocessing.network_input(read.pixels[None], torch.device("cpu"))))
    return torch.cat(found)
