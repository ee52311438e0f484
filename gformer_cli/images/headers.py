"""What is learnt of an image file without decoding it: its header, its size and age, its hash. No torch here."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from PIL import Image

from gformer_cli.folders.domains import ImageFile
from gformer_cli.folders.formats import FORMATS
from gformer_cli.images.decoding import Skipped, describe, open_file
from gformer_cli.images.depth import Kind
from gformer_cli.images.samples import describe_samples

_BLOCK = 1 << 20


class Status(NamedTuple):
    """What tells, without reading a file, that it is what it was."""

    size: int
    """Bytes."""
    time: int
    """Of the last change, in nanoseconds."""


class Header(NamedTuple):
    """What a file tells without being decoded."""

    status: Status
    deep: Kind | None
    """The kind of samples of more than 8 bits whose white is for others to say."""


def status_of(file: ImageFile) -> Status:
    """Bytes of the file and the nanosecond that it was last changed in. Raises `OSError`."""
    status = os.stat(file.path)  # noqa: PTH116 - half the time of Path's own, for each of many files
    return Status(status.st_size, status.st_mtime_ns)


def check_header(file: ImageFile) -> Header | Skipped:
    """What the header of an image tells, or why the file cannot be one."""
    try:
        with open_file(file.path) as stream:
            status = os.fstat(stream.fileno())
            if not status.st_size:
                return Skipped(file.relative, "the file is empty")
            with Image.open(stream, formats=FORMATS) as image:
                deep = describe_samples(image)
        deep_kind = None if deep is None or deep.own is not None else deep.kind
        return Header(Status(status.st_size, status.st_mtime_ns), deep_kind)
    except Exception as error:  # Pillow's plugins raise many kinds; none of them may end a long run
        return Skipped(file.relative, describe(error, file.path))


def hash_file(file: ImageFile) -> str:
    """SHA-256 of the file's bytes. Raises `OSError`, and `ValueError` for what is no regular file."""
    digest = hashlib.sha256()
    with open_file(file.path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
