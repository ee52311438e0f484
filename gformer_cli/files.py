"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gformer_cli.errors import InputError, WorkError

_SPENT = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What no other command line would have prevented."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the place of `path` when the block ends well.

    After any error the temporary file is removed and `path` is as it was. Raises as `writing_to` does.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing_to(path):
        try:
            yield temporary
            temporary.replace(path)
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


def make_folder(path: Path) -> Path:
    """Create `path` and its parents if need be; raises as `writing_to` does."""
    with writing_to(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically, in UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Any) -> None:
    """Write one JSON document atomically."""
    write_text(path, to_json(document))


def to_json(document: Any) -> str:
    """Readable JSON that ends in a newline; file names of any script stay readable."""
    return encodable(json.dumps(document, indent=2, ensure_ascii=False)) + "\n"


def append_json_line(path: Path, record: dict[str, Any]) -> None:
    """Append one record to a JSON-lines log."""
    with writing_to(path), path.open("a", encoding="utf-8") as log:
        log.write(encodable(json.dumps(record, ensure_ascii=False)) + "\n")


def encodable(text: str) -> str:
    """`text` with what UTF-8 cannot hold spelled out: a file name of other bytes carries surrogates.

    Inside of JSON, its readers take the escapes back.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
