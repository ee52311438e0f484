"""The fifteen corruptions of ImageNet-C (Hendrycks and Dietterich 2019, arXiv 1903.12261), by a library.

The library is `imagecorruptions` (Michaelis et al. 2019, arXiv 1907.07484), kept up to date as
`imagecorruptions-imaug`. It has the benchmark's operations and strengths but for three, which it computes its own way:
motion blur, snow and elastic transform. Lengths are in pixels, as they were meant for images of 224. The benchmark's
files were saved as JPEGs besides. So accuracies are near those of published tables, and not the same.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from threading import Lock

import numpy as np
import torch

from gformer_cli.data.corruptions import Corruption, Draws
from gformer_cli.errors import InputError, reason

PREFIX = "imagenet-c"
SMALLEST = 32
"""Pixels of a side that the library wants."""
_GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
_OWN_SEED = ("impulse_noise", "glass_blur")
"""Functions that do not draw from NumPy's generator."""
_lock = Lock()


def check_installed() -> None:
    """Raises `InputError` where the library is not there, or is one that does not work."""
    try:
        import imagecorruptions  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{PREFIX} needs the library imagecorruptions: {reason(error)}",
            "Install the one that is kept: pip install 'gformer[corruptions]'",
        ) from None


def _corrupted(images: torch.Tensor, severity: float, draws: Draws, *, function: str) -> torch.Tensor:
    """Level: the severity. Images are taken, and come back, in steps of 1/255, as files have them."""
    from imagecorruptions import corrupt

    pixels = (images * 255.0).round().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
    done = []
    for image, seed in zip(pixels, draws.seeds(), strict=True):
        number = seed % 2**32
        own = {"seed": number} if function in _OWN_SEED else {}
        with _drawing(number):
            done.append(corrupt(np.ascontiguousarray(image), int(severity), function, **own))
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).to(images) / 255.0


@contextmanager
def _drawing(seed: int) -> Iterator[None]:
    """NumPy's generator, which all share, begins at `seed` here and is afterwards as it was. Nothing is printed."""
    with _lock, redirect_stdout(io.StringIO()):
        state = np.random.get_state()
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


IMAGENET_C: dict[str, Corruption] = {
    f"{PREFIX}:{function.replace('_', '-')}": Corruption(
        f"{PREFIX}:{group}",
        f"{PREFIX}:{function.replace('_', '-')}",
        partial(_corrupted, function=function),
        (1, 2, 3, 4, 5),
    )
    for group, functions in _GROUPS.items()
    for function in functions
}
"""Every corruption by its name, those of a group together. Sides have `SMALLEST` pixels or more."""
