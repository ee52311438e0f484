"""Batches of images as Python programs have them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gformer_cli.errors import InputError
from gformer_cli.images.decoding import in_order
from gformer_cli.python.reading import KINDS, ImageReader, OneImage

Images: TypeAlias = "Iterable[OneImage] | NDArray[np.uint8] | torch.Tensor"
"""Single images; one uint8 array (B, H, W, 3) or tensor (B, 3, H, W) of them; or the network's input, a float tensor
(B, 3, S, S)."""
OnUnreadable: TypeAlias = Callable[[int, str], object]
"""Is told the place of an image that cannot be used, and why."""
_TOLD = 5
"""Images that an error names."""


@dataclass(frozen=True)
class Batch:
    """Images that are predicted together."""

    kept: torch.Tensor
    """(B, ...), as the reader keeps them."""
    positions: tuple[int, ...]
    """The place of each among those that were given."""


def one_batch(images: Images, reader: ImageReader, workers: int) -> Batch:
    """All of `images` as one batch. Raises `InputError`, which names those that cannot be used."""
    if isinstance(images, torch.Tensor) and images.is_floating_point() and images.dim() == 4 and len(images):
        return Batch(reader.checked(images), tuple(range(len(images))))
    numbered = list(enumerate(each(images)))
    if not numbered:
        raise InputError("there are no images", f"Give a list. Each image is {KINDS}.")
    return _stacked(_read(numbered, reader, workers, None))


def batches(
    images: Images, reader: ImageReader, *, size: int, workers: int, on_unreadable: OnUnreadable | None = None
) -> Iterator[Batch]:
    """Batches of `size` images in their order; the last may be smaller. No image is asked for before it is due.

    What cannot be used is told to `on_unreadable`, and the batch is filled from the images that follow; without it
    raises `InputError`.
    """
    numbered = enumerate(each(images))
    waiting: list[tuple[int, torch.Tensor]] = []
    left = True
    while left:
        taken = [item for _, item in zip(range(size - len(waiting)), numbered, strict=False)]
        left = len(taken) == size - len(waiting)
        waiting += _read(taken, reader, workers, on_unreadable)
        if waiting and (len(waiting) == size or not left):
            yield _stacked(waiting)
            waiting = []


def each(images: Any) -> Iterable[OneImage]:
    """The single images. Raises `InputError` for one image alone, and for what holds none."""
    alone = isinstance(images, str | os.PathLike | bytes | Image.Image)
    if isinstance(images, np.ndarray | torch.Tensor):
        if images.ndim not in (2, 3, 4):
            raise InputError(
                f"{_kind(images)} is no batch of images", "It must be (B, H, W, 3), or for tensors (B, 3, H, W)."
            )
        alone = images.ndim < 4
    if alone:
        raise InputError(
            f"{_kind(images)} is one image, not a batch", "Give a list: the images of a batch are adapted to together."
        )
    if not isinstance(images, Iterable) or isinstance(images, Mapping):
        raise InputError(
            f"an object of type {type(images).__name__} holds no images", f"Give a list. Each image is {KINDS}."
        )
    return images


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"{'an array' if isinstance(value, np.ndarray) else 'a tensor'} {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def _read(
    images: Sequence[tuple[int, OneImage]], reader: ImageReader, workers: int, on_unreadable: OnUnreadable | None
) -> list[tuple[int, torch.Tensor]]:
    """What is kept of each image, with its place."""

    def work(item: tuple[int, OneImage]) -> torch.Tensor | InputError:
        try:
            return reader.read(item[1])
        except InputError as error:
            return error

    found: list[tuple[int, torch.Tensor]] = []
    refused: list[tuple[int, InputError]] = []
    kept = in_order(work, images, workers=workers if len(images) > 1 else 0)
    for (position, image), one in zip(images, kept, strict=True):
        if isinstance(one, torch.Tensor):
            found.append((position, one))
            continue
        where = f"{os.fspath(image)}: " if isinstance(image, str | os.PathLike) else ""
        refused.append((position, InputError(f"{where}{one.message}", one.hint)))
    if refused and on_unreadable is None:
        names = [f"image {position}, {error.message}" for position, error in refused]
        more = f"; and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
        raise InputError(f"cannot use {'; '.join(names[:_TOLD])}{more}", refused[0][1].hint)
    for position, error in refused:
        assert on_unreadable is not None
        on_unreadable(position, error.message)
    return found


def _stacked(found: Sequence[tuple[int, torch.Tensor]]) -> Batch:
    kept = [tensor for _, tensor in found]
    if len({(tensor.dtype, tensor.device) for tensor in kept}) > 1:
        raise InputError(
            "some images of a batch are the network's input already, and others are not, or lie on other devices",
            "Give float tensors (3, S, S) alone, or images alone.",
        )
    return Batch(torch.stack(kept), tuple(position for position, _ in found))
