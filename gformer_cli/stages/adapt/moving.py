"""Moving an image that is predicted, so that no moment of a kill loses or doubles it."""

from __future__ import annotations

import errno
import filecmp
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path


def move(source: Path, destination: Path) -> Path:
    """Move a file and return where to; nothing is ever replaced: `a.png` may become `a~1.png`.

    Between two disks the copy is complete and on the disk before the original goes. Where a kill came between the two,
    the next call finds the copy and only removes the original. Raises `OSError`.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    for place in _places(destination):
        if not os.path.lexists(place):
            break
        if _moved_already(source, place):
            source.unlink()
            return place
    try:
        source.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, place)
        source.unlink()
    return place


def _copy(source: Path, place: Path) -> None:
    part = place.with_name(f".{place.name}.part")
    shutil.copy2(source, part)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.rename(place)


def _moved_already(source: Path, place: Path) -> bool:
    if not place.is_file() or place.stat().st_mtime_ns != source.stat().st_mtime_ns:
        return False
    return filecmp.cmp(source, place, shallow=False)


def original_name(name: str) -> str:
    """What a moved file was called: `x/a~1.png` was `x/a.png`; any other name is its own."""
    return _NUMBER.sub("", name)


_NUMBER = re.compile(r"~[0-9]+(?=(\.[^./]*)?$)")
"""What `_places` adds."""


def _places(destination: Path) -> Iterator[Path]:
    yield destination
    for number in itertools.count(1):
        yield destination.with_name(f"{destination.stem}~{number}{destination.suffix}")
