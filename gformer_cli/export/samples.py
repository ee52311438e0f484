"""The images that an export is looked at on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.data.streams import StreamOptions, arrival_order, mixed
from gformer_cli.errors import InputError, WorkError
from gformer_cli.export.preprocessing import Resized
from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.guard.hostile import hostile_batch
from gformer_cli.images.preprocessing import Batch, read_batches

CALIBRATED, MEASURED = 128, 1024
"""Images that integers are calibrated and measured on, at most; of fewer the fourth part calibrates."""
BATCH = 64
"""Images in a batch of those."""


@dataclass(frozen=True)
class Samples:
    """Images to compare on."""

    given: torch.Tensor
    """What the graph takes, (N, ...)."""
    inputs: torch.Tensor
    """What the network takes then, (N, 3, S, S)."""

    @classmethod
    def of(cls, bundle: Bundle, pixels: torch.Tensor, *, prepares: bool) -> Samples:
        """Of uint8 (N, 3, H, W): what a graph that `prepares` resizes, or else the network's size."""
        how = bundle.preprocessing
        if not prepares:
            inputs = how.network_input(pixels, torch.device("cpu"))
            return cls(inputs, inputs)
        given = pixels.permute(0, 2, 3, 1).contiguous()
        return cls(given, how.normalise(Resized(how)(given) / 255.0))


def made_images(bundle: Bundle, count: int, *, any_size: bool = False) -> torch.Tensor:
    """uint8 (count, 3, S, S) that look like nothing, with amplitudes as photographs have them; with `any_size`, larger
    and not square."""
    size = bundle.header.preprocessing.image_size
    return _cut(hostile_batch("clouds", count, 2 * size, 0)) if any_size else hostile_batch("clouds", count, size, 0)


def read_some(
    bundle: Bundle, domains: Sequence[Domain], count: int, workers: int, *, any_size: bool = False
) -> torch.Tensor:
    """The same of the first readable images of `domains`, mixed.

    Raises `WorkError` where none can be read.
    """
    files = [file for domain in domains for file in arrival_order(domain, 0)][:count]
    batch = _read(bundle, domains, files, workers, any_size)
    if batch is None:
        raise WorkError("no readable image to check the export with", "See: gformer data check DIR")
    return batch.pixels


@dataclass(frozen=True)
class Labelled:
    """Images, uint8 (N, 3, H, W), and the numbers of their classes, (N,)."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Labelled:
        return Labelled(self.pixels[part], self.labels[part])

    def batches(self) -> Iterator[Labelled]:
        """In batches of `BATCH`."""
        return (self[start : start + BATCH] for start in range(0, len(self), BATCH))

    def split(self) -> tuple[Labelled, Labelled]:
        """Those that calibrate, and those that are measured."""
        count = max(1, min(CALIBRATED, len(self) // 4))
        return self[:count], self[count:]


def read_labelled(bundle: Bundle, domains: Sequence[Domain], workers: int, *, any_size: bool = False) -> Labelled:
    """As `made_images`, of the readable images of `domains`, all mixed.

    Raises `InputError` where a class is none of the bundle's, and `WorkError` where fewer than two can be read.
    """
    classes = bundle.header.classes
    unknown = sorted({str(file.label) for domain in domains for file in domain.files} - {*classes})
    if unknown:
        raise InputError(
            f"--int8 measures accuracy, and class {unknown[0]} of the images is none of the model's",
            f"Give images in a folder for each class. The model knows {', '.join(classes)}",
        )
    (stream,) = mixed(StreamOptions(targets=domains, batch_size=BATCH, seed=0))
    files = [item.file for batch in stream.batches for item in batch.items][: CALIBRATED + MEASURED]
    batch = _read(bundle, domains, files, workers, any_size)
    if batch is None or len(batch.files) < 2:
        raise WorkError("fewer than two readable images to calibrate integers with", "See: gformer data check DIR")
    return Labelled(batch.pixels, torch.tensor([classes.index(str(file.label)) for file in batch.files]))


def _read(
    bundle: Bundle, domains: Sequence[Domain], files: Sequence[ImageFile], workers: int, any_size: bool
) -> Batch | None:
    """The readable ones of `files`, of `domains`, as one batch; None without any."""
    bundle.look_into(domains)
    how = bundle.preprocessing
    if any_size:
        how = replace(how, image_size=2 * how.image_size, resize="crop", resize_size=None)
    for batch in read_batches(files, how, batch_size=len(files), workers=workers, skipped=[]):
        return replace(batch, pixels=_cut(batch.pixels)) if any_size else batch
    return None


def _cut(pixels: torch.Tensor) -> torch.Tensor:
    """The upper three quarters, and a row: halves of pixels lie beside the centre."""
    return pixels[:, :, : 3 * pixels.shape[2] // 4 + 1]
