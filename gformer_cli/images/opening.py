"""Opening an image file: one of its own, or the part of an archive that is one. No torch here."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from gformer_cli.folders.domains import ImageFile, Part


class Status(NamedTuple):
    """What tells, without reading a file, that it is what it was."""

    size: int
    """Bytes."""
    time: int
    """Of the last change, in nanoseconds; of a part, its archive's."""


def open_file(file: ImageFile) -> BinaryIO:
    """A regular file, or its part of one; nothing else is waited for.

    Raises `ValueError` for pipes and devices, and `OSError`.
    """
    if file.part is None:
        return _open(file.path)
    part = cast(BinaryIO, io.BufferedReader(_Part(_open(file.part.archive), file.part)))
    if not file.part.head:
        return part
    with part:  # such files are small
        return io.BytesIO(file.part.head + part.read())


def size_of(file: ImageFile) -> int:
    """Bytes of a regular file or a part; 0 for anything else. Raises `OSError`."""
    if file.part is not None:
        return len(file.part.head) + file.part.size
    status = file.path.stat()
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def status_of(file: ImageFile) -> Status:
    """Raises `OSError`."""
    place = file.place if file.part is None else file.part.archive
    status = os.stat(place)  # noqa: PTH116 - half the time of Path's own, for each of many files
    return Status(status.st_size if file.part is None else size_of(file), status.st_mtime_ns)


def is_now(file: ImageFile, status: Status) -> bool:
    """Whether `file` is what it was under `status`; not where it is gone."""
    try:
        return status_of(file) == status
    except OSError:
        return False


def _open(path: Path) -> BinaryIO:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("not a regular file")
    return open(path, "rb", opener=_without_waiting)  # Path.open takes no opener


def _without_waiting(path: str, flags: int) -> int:
    # what was a file a moment ago may be a pipe now, whose opening waits for a writer
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


class _Part(io.RawIOBase):
    """The bytes of `part` alone, in its archive that is open."""

    def __init__(self, archive: BinaryIO, part: Part) -> None:
        self._archive = archive
        self._part = part
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = max(0, offset + (0, self._place, self._part.size)[whence])
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self._part.size - self._place))
        self._archive.seek(self._part.start + self._place)
        found = self._archive.read(wanted)
        buffer[: len(found)] = found
        self._place += len(found)
        return len(found)

    def close(self) -> None:
        self._archive.close()
        super().close()
