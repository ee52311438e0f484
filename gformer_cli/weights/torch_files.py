"""Files of `torch.save`, read without running what is in them and without room for what they merely claim."""

from __future__ import annotations

import mmap
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

_BUILDS_ANY_SIZE = b"bytearray"
"""The one constructor that `weights_only` lets a file call with a size instead of contents."""


class RefusedFile(ValueError):
    """A file that holds what it may not, or claims what it does not hold."""


def load_plain(path: Path) -> Any:
    """Tensors (on the CPU), containers and plain values; raises many kinds of error for anything else.

    `torch.load` by itself unpacks compressed entries and calls `bytearray(N)` for any N that a file names: both let a
    small file take all memory. `torch.save` writes neither.
    """
    suspects: list[bytes | mmap.mmap]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, path)
            suspects = [archive.read(entry) for entry in archive.infolist() if entry.filename.endswith(".pkl")]
    else:  # the old format: one pickle after another
        with path.open("rb") as stream:
            suspects = [mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)]
    if any(content.find(_BUILDS_ANY_SIZE) >= 0 for content in suspects):
        raise RefusedFile("it holds more than tensors and plain values")
    return torch.load(path, "cpu", weights_only=True)


def check_archive(archive: zipfile.ZipFile, path: Path) -> None:
    """Raises `RefusedFile` where `archive`, of the file `path`, would unpack to more than its size."""
    entries = archive.infolist()
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise RefusedFile("it has compressed entries")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise RefusedFile("it claims to hold more than its size")


def unusable(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """What is wrong with a state dict whose values would make every prediction not a number; None for a good one."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            return f"{name} holds values that are not finite"
        if name.endswith("running_var") and bool((tensor < 0).any()):
            return f"{name} holds a variance below zero"
    return None
