"""Images as benchmarks of corruptions hand them out: NumPy files, one for each corruption, beside `labels.npy`.

CIFAR-10-C and CIFAR-100-C are such folders: (50000, 32, 32, 3) uint8, the same 10,000 images under severity 1, then
under 2, to 5. Nothing is unpacked: an image is its bytes in the file, behind the header of a PPM file. No torch here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gformer_cli.errors import InputError
from gformer_cli.folders.image_files import Domain, ImageFile, ImageFiles, Part
from gformer_cli.folders.nesting import Known, known_name

if TYPE_CHECKING:
    import numpy.typing as npt

LABELS = "labels.npy"
SEVERITIES = 5


def holds_arrays(folder: Path) -> bool:
    """Whether a folder is one of NumPy files and their labels."""
    return (folder / LABELS).is_file()


def read_arrays(folder: Path, known: Known) -> list[Domain]:
    """A domain for each file and severity, such as `fog-3`, or one for the file where its labels come just once.

    Classes are called by their numbers; `known` maps them to others. Raises `InputError` for a file that is none of
    images, or has not as many as there are labels.
    """
    labels = _labels(folder / LABELS)
    found: list[Domain] = []
    for path in sorted(folder.glob("*.npy")):
        if path.name == LABELS:
            continue
        array = _header(path)
        if len(array.shape) != 4 or array.shape[3] != 3 or array.dtype != "uint8" or array.fortran:
            raise InputError(
                f"{path} holds no images: {array.dtype} {array.shape}", "They are uint8 of the shape (N, H, W, 3)."
            )
        if array.shape[0] != len(labels):
            raise InputError(
                f"{path} holds {array.shape[0]} images, and {LABELS} {len(labels)} labels", "Copy both again."
            )
        found += _domains(path, array, labels, known)
    if not found:
        raise InputError(f"no images beside {folder / LABELS}", "They lie in .npy files, one for each corruption.")
    return found


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: str
    fortran: bool
    start: int
    """Of the first number, in bytes."""


def _header(path: Path) -> _Header:
    from numpy.lib import format as npy

    try:
        with path.open("rb") as stream:
            version = npy.read_magic(stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = read(stream)
            header = _Header(shape, str(dtype), fortran, stream.tell())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", "Is it whole? Copy it again.") from None
    if path.stat().st_size < header.start + dtype.itemsize * math.prod(shape):
        raise InputError(f"cannot read {path}: it is cut off", "Copy it again.")
    return header


def _labels(path: Path) -> npt.NDArray[Any]:
    import numpy as np

    try:
        labels: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", "It holds a whole number for each image.") from None
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{path} holds no labels: {labels.dtype} {labels.shape}", "They are whole numbers, (N,).")
    return labels


def _domains(path: Path, array: _Header, labels: npt.NDArray[Any], known: Known) -> list[Domain]:
    count, height, width, _ = array.shape
    each = count // SEVERITIES
    repeated = each > 0 and count == each * SEVERITIES and (labels.reshape(SEVERITIES, each) == labels[:each]).all()
    head = f"P6 {width} {height} 255\n".encode()
    size = height * width * 3
    names = {number: known.class_of(str(number)) for number in {*labels.tolist()}}
    found = []
    for severity in range(1, SEVERITIES + 1) if repeated else [None]:
        first, last = (0, count) if severity is None else ((severity - 1) * each, severity * each)
        files = ImageFiles(
            ImageFile(
                path.parent,
                f"{path.name}/{number:06d}.ppm",
                names[int(labels[number])],
                part=Part(path, array.start + number * size, size, head),
            )
            for number in range(first, last)
        )
        called = path.stem if severity is None else f"{path.stem}-{severity}"
        classes = tuple(sorted({*map(str, files.labels())}))
        found.append(Domain(known_name(called, known.domains), path.parent, files, classes, severity))
    return found
