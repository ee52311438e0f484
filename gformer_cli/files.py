"""Reading files that somebody else made, and writing files so that a reader never sees half of one."""

from __future__ import annotations

import codecs
import errno
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Any

from gformer_cli.errors import InputError, WorkError

MIB = 1 << 20
BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF8)
"""What editors and spreadsheets put before a text."""
_SPENT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What no other command line would have prevented."""
_BINARY = getattr(os, "O_BINARY", 0)


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file. Raises `OSError` for anything else: a pipe would be waited for, a device has no
    end."""
    # what is a pipe is opened without waiting for its other side
    file = os.open(path, flags | _BINARY | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.EINVAL, "not a regular file")
    return file


def read_regular(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises `OSError`, with a reason, for anything else."""
    with open(open_regular(path), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit // MIB} MiB")
    return content


def read_text(path: Path, limit: int) -> str:
    """The text of a regular file of at most `limit` bytes: UTF-8, or as its byte order mark says. Raises `OSError`."""
    content = read_regular(path, limit)
    try:
        return content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, f"it is not text in UTF-8 (byte {error.start}): save it as UTF-8") from None


def decoded(content: bytes) -> str:
    """Like `read_text`, of bytes; what is none stays visible as a replacement."""
    return content.decode(_encoding(content), "replace")


def _encoding(content: bytes) -> str:
    if content.startswith(BOMS[:2]):  # first: its mark begins with that of UTF-16
        return "utf-32"
    return "utf-16" if content.startswith(BOMS[2:4]) else "utf-8-sig"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it takes the place of `path` when the block ends well.

    Where `path` is a link, the file that it leads to is replaced, and the link stays. After any error the temporary
    file is removed and `path` is as it was. Raises as `writing_to` does.
    """
    with writing_to(path):
        place = _landing(path)
        temporary = _beside(place)
        try:
            yield temporary
            with suppress(FileNotFoundError):
                temporary.chmod(stat.S_IMODE(place.stat().st_mode))
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write to `path` into an error that says what to do.

    `WorkError` for a disk that is full or broken, `InputError` for a path that cannot be written to.
    """
    try:
        yield
    except OSError as error:
        told = f"cannot write {path}: {error.strerror or error}"
        if error.errno in _SPENT:
            raise WorkError(told, "Free some space or name another output path.") from error
        raise InputError(told, "Name another output path, or change its permissions.") from error


def check_writable(*paths: Path) -> None:
    """Try whether a file can be written to each of `paths`, before the work whose result it is to hold.

    Folders that are missing are made for the attempt; it leaves nothing behind, and a file that is there as it was.
    Raises as `writing_to` does.
    """
    for path in paths:
        with writing_to(path), _folders(path.parent):
            _try(_landing(path))


def check_appendable(path: Path) -> None:
    """Like `check_writable`, for a file that is added to."""
    with writing_to(path), suppress(FileNotFoundError):
        os.close(open_regular(path, os.O_WRONLY | os.O_APPEND))
        return
    check_writable(path)


def check_fillable(folder: Path) -> None:
    """Like `check_writable` for any file in `folder`, which need not exist."""
    with writing_to(folder):
        place = _landing(folder, folder=True)
        with _folders(place):
            _try(place / "x")


def check_replaceable(folder: Path, what: str, *, overwrite: bool) -> bool:
    """Whether `folder` holds anything, such as `what`, which is to be replaced.

    Raises `InputError` for a file, where nothing can be written, and for a folder that holds anything unless it may be
    overwritten.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder", "Name another --out.")
    check_fillable(folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    if not overwrite:
        raise InputError(
            f"output folder is not empty: {folder}", f"Replace {what} with --overwrite, or name another --out."
        )
    return True


def _try(place: Path) -> None:
    probe = place.with_name(f".gformer.{os.getpid()}.part")
    try:
        probe.write_bytes(b"\n")  # a full disk takes an empty file
    finally:
        probe.unlink(missing_ok=True)


@contextmanager
def _folders(folder: Path) -> Iterator[None]:
    """`folder` exists within the block; what was made for that goes again."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        _make(folder)
        yield
    finally:
        for place in missing:
            with suppress(OSError):  # somebody else has put something into it
                place.rmdir()


def _landing(path: Path, *, folder: bool = False) -> Path:
    """Where what is written to `path` comes to lie: links are followed, also one to what is not there yet."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Path(os.path.realpath(path))
    if folder and not stat.S_ISDIR(mode):
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    if not folder and stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not folder and not stat.S_ISREG(mode):  # a device must not be replaced
        raise OSError(errno.EINVAL, "not a regular file")
    return Path(os.path.realpath(path))


def _beside(place: Path) -> Path:
    # a name that is as long as names may be has no room for more
    return place.with_name(f".{place.name[:40]}.{os.getpid()}.part")


def make_folder(path: Path) -> Path:
    """Create `path` and its parents if need be; raises as `writing_to` does."""
    with writing_to(path):
        _make(_landing(path, folder=True))
    return path


def _make(folder: Path) -> None:
    missing = list(takewhile(lambda place: not place.exists(), folder.parents))
    for place in (*reversed(missing), folder):  # mkdir(parents=True) calls itself for each of them
        place.mkdir(exist_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder and all in it, however deep: what lies below is brought up before it goes. Raises `OSError`.

    Links are removed, and what they lead to is left alone.
    """
    number = 0
    waiting = [folder]
    while waiting:
        inner = waiting.pop()
        with os.scandir(inner) as entries:
            found = list(entries)
        for entry in found:
            if not entry.is_dir(follow_symlinks=False):
                Path(entry.path).unlink()
            elif inner == folder:
                waiting.append(Path(entry.path))
            else:
                while os.path.lexists(place := folder / f".{number}.remove"):
                    number += 1
                waiting.append(Path(entry.path).rename(place))
        if inner != folder:
            inner.rmdir()
    folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Write one JSON document atomically."""
    write_text(path, to_json(document))


def to_json(document: Any) -> str:
    """Readable JSON that ends in a newline; file names of any script stay readable. See `json_line`."""
    return _dumped(document, indent=2) + "\n"


def json_line(record: Any) -> str:
    """One line of JSON with its newline. JSON has no NaN and no infinity: a number that is not finite is null."""
    return _dumped(record) + "\n"


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Append one record to a JSON-lines log."""
    with writing_to(path), open(open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as log:
        log.write(json_line(record).encode("utf-8"))


def finite(value: Any) -> Any:
    """`value` with None for every number in it that is not finite."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def encodable(text: str) -> str:
    """`text` with what UTF-8 cannot hold spelled out: a file name of other bytes carries surrogates.

    Inside of JSON, its readers take the escapes back.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _dumped(document: Any, indent: int | None = None) -> str:
    return encodable(json.dumps(finite(document), indent=indent, ensure_ascii=False, allow_nan=False))
