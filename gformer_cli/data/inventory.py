"""What is known of the files of a data set, kept beside a run: so that the next start need not look into them again."""

from __future__ import annotations

import csv
import io
import sys
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from gformer_cli.errors import InputError
from gformer_cli.files import atomic_path, open_regular
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.opening import Status

_COLUMNS = ["domain", "path", "size", "mtime_ns", "samples", "sha256"]
_NAMES = "surrogateescape"
"""A file name that is not UTF-8 is written as the bytes that it has."""


class Statuses:
    """Those of N files, in 16 bytes each."""

    def __init__(self) -> None:
        self._numbers = array("q")

    def __len__(self) -> int:
        return len(self._numbers) // 2

    def __getitem__(self, position: int) -> Status:
        return Status(self._numbers[2 * position], self._numbers[2 * position + 1])

    def append(self, status: Status) -> None:
        self._numbers.extend(status)


class Known(NamedTuple):
    """What is known of a file as long as its status stays the same."""

    status: Status
    samples: str = ""
    """What its header tells of them: 8 bits, or the kind of deeper ones; empty where it was not looked at."""
    digest: str | None = None
    """SHA-256 of its content; None where nobody has asked for it."""


class Inventory:
    """What was known of files, by the domain that they are in and their path within it, wherever that lies now."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file `path`; empty where there is none. Raises `InputError` where it cannot be read."""
        self._known: dict[tuple[str, str], Known] = {}
        if path is None or not path.exists():
            return
        try:
            with io.TextIOWrapper(io.FileIO(open_regular(path)), "utf-8", errors=_NAMES, newline="") as file:
                for row in csv.DictReader(file):
                    status = Status(int(row["size"]), int(row["mtime_ns"]))
                    self._known[row["domain"], row["path"]] = Known(
                        status, sys.intern(row["samples"]), row["sha256"] or None
                    )
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise InputError(f"cannot read {path}: {error}", "Remove it: the images are looked at again.") from None

    def __len__(self) -> int:
        return len(self._known)

    def get(self, domain: str, root: Path, file: ImageFile) -> Known | None:
        """What was known of a file of `domain`, which lies in the folder `root`."""
        return self._known.get((domain, within(root, file)))


def within(root: Path, file: ImageFile) -> str:
    """The path of a file below the root of its domain, with slashes."""
    return file.path.as_posix().removeprefix(f"{root.as_posix()}/")


def write_inventory(path: Path, rows: Iterable[tuple[str, str, Known]]) -> None:
    """Write what is known of files, each with its domain and its path within that."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors=_NAMES) as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(_as_text(rows))


def _as_text(rows: Iterable[tuple[str, str, Known]]) -> Iterator[tuple[str, str, int, int, str, str]]:
    for domain, name, (status, samples, digest) in rows:
        yield domain, name, status.size, status.time, samples, digest or ""
