"""What is learnt of an image file without decoding it: its header, its size and age, its hash. No torch here."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from PIL import Image

from gformer_cli.folders.domains import ImageFile
from gformer_cli.folders.formats import FORMATS
from gformer_cli.images.decoding import Skipped, describe
from gformer_cli.images.depth import Kind
from gformer_cli.images.opening import Status, open_file, status_of
from gformer_cli.images.samples import describe_samples

_BLOCK = 1 << 20


class Header(NamedTuple):
    """What a file tells without being decoded."""

    status: Status
    deep: Kind | None
    """The kind of samples of more than 8 bits whose white is for others to say."""


def check_header(file: ImageFile) -> Header | Skipped:
    """What the header of an image tells, or why the file cannot be one."""
    try:
        with open_file(file) as stream:
            status = status_of(file)
            if not status.size:
                return Skipped(file.relative, "the file is empty")
            with Image.open(stream, formats=FORMATS) as image:
                deep = describe_samples(image)
        deep_kind = None if deep is None or deep.own is not None else deep.kind
        return Header(status, deep_kind)
    except Exception as error:  # Pillow's plugins raise many kinds; none of them may end a long run
        return Skipped(file.relative, describe(error, file.path))


def hash_file(file: ImageFile) -> str:
    """SHA-256 of the file's bytes. Raises `OSError`, and `ValueError` for what is no regular file."""
    digest = hashlib.sha256()
    with open_file(file) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
