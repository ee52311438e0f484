"""What is known of the files of a data set, kept beside a run: so that the next start need not look into them again."""

from __future__ import annotations

import csv
import io
import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gformer_cli.errors import InputError
from gformer_cli.files import atomic_path, open_regular
from gformer_cli.folders.image_files import ImageFile, Texts
from gformer_cli.images.opening import Status

_COLUMNS = ["domain", "path", "size", "mtime_ns", "samples", "sha256"]
_NAMES = "surrogateescape"
"""A file name that is not UTF-8 is written as the bytes that it has."""
_DIGEST = 32
"""Bytes of a SHA-256."""


class Known(NamedTuple):
    """What is known of a file as long as its status stays the same."""

    status: Status
    samples: str = ""
    """What its header tells of them: 8 bits, or the kind of deeper ones; empty where it was not looked at."""
    digest: str | None = None
    """SHA-256 of its content; None where nobody has asked for it."""


class Facts(Sequence[Known]):
    """What is known of N files, in 57 bytes each."""

    def __init__(self) -> None:
        self._numbers = array("q")
        self._samples: list[str] = []
        self._digests = bytearray()
        self._hashed = bytearray()

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, position: int) -> Known:  # type: ignore[override]
        return Known(self.status(position), self._samples[position], self.digest(position))

    def append(self, known: Known) -> None:
        self._numbers.extend(known.status)
        self._samples.append(sys.intern(known.samples))
        self._hashed.append(0)
        self._digests += bytes(_DIGEST)
        if known.digest is not None:
            self.set_digest(len(self) - 1, known.digest)

    def status(self, position: int) -> Status:
        return Status(self._numbers[2 * position], self._numbers[2 * position + 1])

    def digest(self, position: int) -> str | None:
        if not self._hashed[position]:
            return None
        return self._digests[_DIGEST * position : _DIGEST * (position + 1)].hex()

    def set_digest(self, position: int, digest: str) -> None:
        """Raises `ValueError` for what is no SHA-256."""
        data = bytes.fromhex(digest)
        if len(data) != _DIGEST:
            raise ValueError(f"not a SHA-256: {digest}")
        self._digests[_DIGEST * position : _DIGEST * (position + 1)] = data
        self._hashed[position] = 1

    def unhashed(self) -> list[int]:
        """Positions of the files without a digest."""
        return [position for position, hashed in enumerate(self._hashed) if not hashed]


@dataclass
class _Rows:
    """The files of one domain."""

    names: Texts = field(default_factory=Texts)
    facts: Facts = field(default_factory=Facts)


class Inventory:
    """What was known of files, by the domain that they are in and their path within it, wherever that lies now."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file `path`; empty where there is none. Raises `InputError` where it cannot be read."""
        self._domains: dict[str, _Rows] = {}
        if path is None or not path.exists():
            return
        try:
            with io.TextIOWrapper(io.FileIO(open_regular(path)), "utf-8", errors=_NAMES, newline="") as file:
                rows = csv.reader(file)
                columns = next(rows, _COLUMNS)
                places = [columns.index(name) for name in _COLUMNS]
                for row in rows:
                    domain, name, size, time, samples, digest = (row[place] for place in places)
                    own = self._domains.get(domain) or self._domains.setdefault(domain, _Rows())
                    own.names.append(name)
                    own.facts.append(Known(Status(int(size), int(time)), samples, digest or None))
        except (OSError, ValueError, IndexError, OverflowError, csv.Error) as error:
            raise InputError(f"cannot read {path}: {error}", "Remove it: the images are looked at again.") from None

    def __len__(self) -> int:
        return sum(len(rows.facts) for rows in self._domains.values())

    def match(self, domain: str, root: Path, files: Iterable[ImageFile]) -> Iterator[Known | None]:
        """What was known of each file of `domain`, which lies in the folder `root`.

        It is quick where they are in the order in which they were written.
        """
        rows = self._domains.get(domain, _Rows())
        places: dict[str, int] = {}
        place = -1
        for file in files:
            name = within(root, file)
            place += 1
            if place >= len(rows.names) or rows.names[place] != name:
                places = places or {own: number for number, own in enumerate(rows.names)}
                place = places.get(name, -1)
            yield rows.facts[place] if place >= 0 else None


def within(root: Path, file: ImageFile) -> str:
    """The path of a file below the root of its domain, with slashes."""
    return file.place.replace(os.sep, "/").removeprefix(f"{root.as_posix()}/")


def write_inventory(path: Path, rows: Iterable[tuple[str, str, Known]]) -> None:
    """Write what is known of files, each with its domain and its path within that."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8", errors=_NAMES) as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows(_as_text(rows))


def _as_text(rows: Iterable[tuple[str, str, Known]]) -> Iterator[tuple[str, str, int, int, str, str]]:
    for domain, name, (status, samples, digest) in rows:
        yield domain, name, status.size, status.time, samples, digest or ""
