"""A file that only grows, each addition whole and on the disk before the next step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import open_regular

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]

_HINT = "Free some space or see to the disk, then start the same command again: nothing is lost."


class AppendFile:
    """`path`, opened to be added to, and locked: a second process is refused with `InputError`.

    Raises `WorkError` wherever the operating system refuses to write, and where the file under this name is no longer
    the one that is open, or not as this process left it: what is written to it then would be lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            raise self._refused(error) from error
        try:
            _lock(self._file, path)
        except BaseException:
            os.close(self._file)
            raise
        self.size = os.fstat(self._file).st_size

    def __enter__(self) -> AppendFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to it."""
        os.close(self._file)

    def cut(self, size: int) -> None:
        """Drop everything from byte `size` on."""
        try:
            os.ftruncate(self._file, size)
            os.fsync(self._file)
        except OSError as error:
            raise self._refused(error) from error
        self.size = size

    def append(self, text: str) -> None:
        """Add `text` in UTF-8 (what cannot be encoded, as an escape) and wait until it is on the disk.

        After an error the file is as it was before, as far as the disk lets it.
        """
        self._check_place()
        data = text.encode("utf-8", "backslashreplace")
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError as error:
            with suppress(OSError):  # what is torn is cut at the next start in any case
                os.ftruncate(self._file, self.size)
            raise self._refused(error) from error
        if self.size == 0:
            self._sync_folder()
        self.size += len(data)
        self._check_place()  # it may have gone while it was written to

    def _check_place(self) -> None:
        try:
            there = self.path.stat()
        except OSError:
            raise self._lost("has been moved or removed") from None
        here = os.fstat(self._file)
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            raise self._lost("is another file now")
        if here.st_size != self.size:
            raise self._lost("has been changed by another program")

    def _lost(self, what: str) -> WorkError:
        return WorkError(
            f"{self.path} {what} while this command was adding to it",
            "Stop it before you move or replace its files. Start it again: what is not in the file is done again.",
        )

    def _sync_folder(self) -> None:
        with suppress(OSError):  # not every system opens folders
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _refused(self, error: OSError) -> WorkError:
        return WorkError(f"cannot write {self.path}: {error.strerror or error}", _HINT)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Within the block no `AppendFile` opens the file `path`. Whether there is one, so that it could be kept.

    Raises `InputError` where another process is adding to it.
    """
    try:
        if fcntl is None:
            raise FileNotFoundError
        file = open_regular(path, os.O_RDWR)
    except OSError:  # it is not there, or is refused in the terms of who writes it
        yield False
        return
    try:
        _lock(file, path)
        yield True
    finally:
        os.close(file)


def _lock(file: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"another process is writing to {path}", "Stop it first, or name another output file."
        ) from None
    except OSError:  # a file system without locks
        pass
