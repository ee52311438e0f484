"""Images as Python programs have them, to the network's input."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gformer_cli.errors import InputError, reason
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.colour import require_visible, to_rgb
from gformer_cli.images.decoding import Skipped, attempt, decode, describe, turn_upright
from gformer_cli.images.preprocessing import Preprocessing, pixels_of, to_pixels
from gformer_cli.images.samples import of_mode

OneImage: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8] | torch.Tensor"
"""A file's path or content, a Pillow image of any mode, a uint8 array (H, W, 3) or (H, W), a uint8 tensor (3, H, W), or
the network's input: a float tensor (3, S, S)."""
KINDS = "a path, a Pillow image, a uint8 array (H, W, 3), the bytes of a file, or a tensor"
_IN_MEMORY = Path("<in memory>")


class ImageReader(ABC):
    """Makes the network's input of single images. Threads may share one; it can be sent to another process."""

    image_size: int
    """Height and width of the input, S."""

    def __call__(self, image: OneImage) -> torch.Tensor:
        """The network's input (3, S, S), float32 on the CPU: the transform of a data set.

        Raises `InputError` for what is no image, or cannot be read.
        """
        return self.network_input(self.read(image)[None], torch.device("cpu"))[0]

    def read(self, image: OneImage) -> torch.Tensor:
        """What is kept of an image until its batch is complete. Raises `InputError`."""
        if isinstance(image, str | os.PathLike):
            path = Path(image)
            found = attempt(ImageFile(Path(), str(path)), partial(self._decoded, path=path))
            if isinstance(found, Skipped):
                raise InputError(found.reason)
            return self._kept(found)
        if isinstance(image, torch.Tensor) and image.is_floating_point():
            return self.checked(image[None])[0]
        try:
            opened = self._opened(image)
        except InputError:
            raise
        except Exception as error:  # Pillow's decoders raise many kinds
            raise InputError(describe(error, _IN_MEMORY)) from error
        return self._kept(opened)

    def checked(self, images: torch.Tensor) -> torch.Tensor:
        """The network's input (B, 3, S, S) itself, in float32. Raises `InputError` for anything else."""
        wanted = (3, self.image_size, self.image_size)
        if images.shape[1:] != wanted:
            raise InputError(
                f"a float tensor {tuple(images.shape[1:])} is not the network's input, {wanted}",
                "Prepare images with model.preprocessing, or give them as they are: paths, or uint8.",
            )
        if not bool(images.isfinite().all()):
            raise InputError("a float tensor has values that are not finite", "Look at what prepares the images.")
        return images.detach().float()

    def network_input(self, kept: torch.Tensor, device: torch.device) -> torch.Tensor:
        """What was kept of B images, stacked, to the network's input (B, 3, S, S), float32 on `device`."""
        return kept.to(device) if kept.is_floating_point() else self._normalised(kept, device)

    def _opened(self, image: object) -> Image.Image | torch.Tensor:
        if isinstance(image, bytes):
            if not image:
                raise InputError("the file is empty")
            return self._decoded(image, path=_IN_MEMORY)
        if isinstance(image, torch.Tensor):
            image = _channels_last(image)
        if isinstance(image, np.ndarray):
            image = _of_array(image)
        if isinstance(image, Image.Image):
            return self._converted(image)
        raise InputError(f"an object of type {type(image).__name__} is no image", f"Give {KINDS}.")

    def _normalised(self, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Of uint8 images (B, 3, S, S), where they are kept so, to the network's input."""
        raise NotImplementedError

    @abstractmethod
    def _decoded(self, data: bytes, *, path: Path) -> Image.Image | torch.Tensor:
        """Of the content of a file. Raises whatever decoding raises."""

    @abstractmethod
    def _converted(self, image: Image.Image) -> Image.Image:
        """Of an image that Pillow has opened: 8-bit RGB. The image itself stays as it is."""

    @abstractmethod
    def _kept(self, opened: Image.Image | torch.Tensor) -> torch.Tensor:
        """Of what the two before give."""


class PreprocessingReader(ImageReader):
    """Reads as a bundle's preprocessing says: the numbers of `gformer adapt`. Keeps uint8 pixels (3, S, S)."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing
        self.image_size = preprocessing.image_size

    def __repr__(self) -> str:
        return repr(self.preprocessing)

    def _normalised(self, pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
        return self.preprocessing.network_input(pixels, device)

    def _decoded(self, data: bytes, *, path: Path) -> torch.Tensor:
        return pixels_of(data, path, self.preprocessing)

    def _converted(self, image: Image.Image) -> Image.Image:
        plain = self.preprocessing.reading == "plain"
        image = image.copy()
        if not plain:
            turn_upright(image)
        deep = of_mode(image.mode)
        levels = None if deep is None else self.preprocessing.depth.of(_IN_MEMORY, deep.kind)
        return require_visible(to_rgb(image, levels=levels, plain=plain))

    def _kept(self, opened: Image.Image | torch.Tensor) -> torch.Tensor:
        return opened if isinstance(opened, torch.Tensor) else to_pixels(opened, self.preprocessing)


class TransformReader(ImageReader):
    """Calls somebody's own transform on Pillow images in RGB, read as `Image.open(FILE).convert("RGB")` reads them.

    Raises `InputError` for a transform that does not make a float tensor (3, S, S) of an image, the same each time.
    """

    def __init__(self, transform: Callable[[Any], Any]) -> None:
        self.transform = transform
        self.image_size = 0  # until the first image tells
        example = _example()
        first = self._kept(example)
        self.image_size = first.shape[-1]
        if not torch.equal(first, self._kept(example)):
            raise InputError(
                "the transform makes something else of the same image each time",
                "Give the one that you evaluate with, not the one that you train with.",
            )

    def __repr__(self) -> str:
        return repr(self.transform)

    def _decoded(self, data: bytes, *, path: Path) -> Image.Image:
        return decode(data, plain=True)

    def _converted(self, image: Image.Image) -> Image.Image:
        return to_rgb(image.copy(), plain=True)

    def _kept(self, opened: Image.Image | torch.Tensor) -> torch.Tensor:
        try:
            made = self.transform(opened)
        except Exception as error:  # it is the user's code: it may raise anything
            raise InputError(f"the transform failed: {reason(error)}", "It is given a Pillow image in RGB.") from error
        hint = "It must make a float tensor (3, S, S) of a Pillow image, as ToTensor and Normalize do."
        if not isinstance(made, torch.Tensor) or not made.is_floating_point():
            kind = (
                f"a tensor of {made.dtype}"
                if isinstance(made, torch.Tensor)
                else f"an object of type {type(made).__name__}"
            )
            raise InputError(f"the transform makes {kind} of an image", hint)
        size = self.image_size or made.shape[-1]
        if made.shape != (3, size, size):
            raise InputError(f"the transform makes a tensor {tuple(made.shape)} of an image", hint)
        return made.detach().float()


def _example() -> Image.Image:
    """Noise in which any two crops differ."""
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (240, 320, 3), dtype=np.uint8))


def _channels_last(image: torch.Tensor) -> NDArray[Any]:
    if image.is_floating_point() or image.dim() != 3 or image.shape[0] != 3:
        raise InputError(
            f"a {str(image.dtype).removeprefix('torch.')} tensor {tuple(image.shape)} is no image",
            "A tensor is uint8 (3, H, W), or a batch of the network's input: float (B, 3, S, S).",
        )
    channels: NDArray[Any] = image.permute(1, 2, 0).cpu().numpy()
    return channels


def _of_array(image: NDArray[Any]) -> Image.Image:
    if image.dtype != np.uint8:
        raise InputError(
            f"an array of {image.dtype} is no image",
            "Make it uint8, 0 to 255. Of samples of more than 8 bits give the file, or a Pillow image.",
        )
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)) or not image.size:
        raise InputError(
            f"an array {image.shape} is no image", "It must be (H, W, 3), red, green and blue; or (H, W), grey."
        )
    return Image.fromarray(np.ascontiguousarray(image))
