"""A file that only grows, each addition whole and on the disk before the next step."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from gformer_cli.errors import InputError, WorkError

try:
    import fcntl
except ImportError:  # Windows has no such lock
    fcntl = None  # type: ignore[assignment]

_HINT = "Free some space or see to the disk, then start the same command again: nothing is lost."


class AppendFile:
    """`path`, opened to be added to, and locked: a second process is refused with `InputError`.

    Raises `WorkError` wherever the operating system refuses to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise self._refused(error) from error
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._file)
                raise InputError(
                    f"another process is writing to {path}", "Stop it first, or name another --out."
                ) from None
            except OSError:  # a file system without locks
                pass
        self.size = os.fstat(self._file).st_size

    def __enter__(self) -> AppendFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    def _sync_folder(self) -> None:
        with suppress(OSError):  # not every system opens folders
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _refused(self, error: OSError) -> WorkError:
        return WorkError(f"cannot write {self.path}: {error.strerror or error}", _HINT)
