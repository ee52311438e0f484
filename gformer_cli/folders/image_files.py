"""Image files, and domains of hundreds of thousands of them: of many, names and numbers are kept, not objects."""

from __future__ import annotations

import itertools
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

from gformer_cli.folders.sniffing import NO_SUFFIX, suffix_of

_TEXT = "utf-8", "surrogateescape"
"""A file name that is not UTF-8 is kept as the bytes that it has."""


class Part(NamedTuple):
    """The bytes of a file within an archive."""

    archive: Path
    start: int
    size: int
    head: bytes = b""
    """What comes before them in the file that they are read as."""


class ImageFile(NamedTuple):
    """One image: the folder that the user gave, its path from there with slashes, and its class if known."""

    folder: Path
    relative: str
    label: str | None = None
    split: str = ""
    """`train`, `validation` or `test`, where the user has said so."""
    part: Part | None = None
    """Where it lies in an archive; its path is then that of the archive, with its own behind."""

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder / self.relative

    @property
    def place(self) -> str:
        """The same as text: made in a tenth of the time."""
        folder = str(self.folder)
        return self.relative if folder == "." else os.path.join(folder, self.relative)  # noqa: PTH118 - see above

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.relative.rpartition("/")[2]


def in_order_of(names: Iterable[str]) -> list[int]:
    """The positions of `names`, in the order of the alphabet."""
    held = [*names]
    return sorted(range(len(held)), key=held.__getitem__)


class Texts(Sequence[str]):
    """N texts, each in its bytes and 8 more."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        self._bytes += text.encode(*_TEXT)
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> Texts: ...
    def __getitem__(self, position: int | slice) -> str | Texts:
        if isinstance(position, slice):
            return Texts(self[place] for place in range(*position.indices(len(self))))
        if position < 0:
            position += len(self)
        return self._bytes[self._ends[position] : self._ends[position + 1]].decode(*_TEXT)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in itertools.islice(self._ends, 1, None):
            yield self._bytes[start:end].decode(*_TEXT)
            start = end


class _Kind(NamedTuple):
    """What many files have in common."""

    folder: Path
    label: str | None
    split: str
    archive: Path | None
    head: bytes


class ImageFiles(Sequence[ImageFile]):
    """N image files in some 50 bytes each. Each is made when it is asked for: two of one place are equal, not one.

    Processes that are forked off share them all: nothing is written to what is only read, as it is to objects.
    """

    def __init__(self, files: Iterable[ImageFile] = ()) -> None:
        self._names = Texts()
        self._of_kind = array("i")
        self._parts = array("q")
        """Start and size of each file's part, from the first on that has one."""
        known: dict[_Kind, int] = {}
        for file in files:
            part = file.part
            inside = (None, b"") if part is None else (part.archive, part.head)
            kind = _Kind(file.folder, file.label, file.split, *inside)
            if part is not None or self._parts:
                self._parts.extend([0, 0] * (len(self._names) - len(self._parts) // 2))
                self._parts.extend([0, 0] if part is None else [part.start, part.size])
            self._names.append(file.relative)
            self._of_kind.append(known.setdefault(kind, len(known)))
        self._kinds = [*known]

    def __len__(self) -> int:
        return len(self._of_kind)

    @overload
    def __getitem__(self, position: int) -> ImageFile: ...
    @overload
    def __getitem__(self, position: slice) -> ImageFiles: ...
    def __getitem__(self, position: int | slice) -> ImageFile | ImageFiles:
        if isinstance(position, slice):
            return self.at(range(*position.indices(len(self))))
        place = range(len(self))[position]
        folder, label, split, archive, head = self._kinds[self._of_kind[place]]
        part = None if archive is None else Part(archive, self._parts[2 * place], self._parts[2 * place + 1], head)
        return ImageFile(folder, self._names[place], label, split, part)

    def __iter__(self) -> Iterator[ImageFile]:
        if self._parts:
            yield from map(self.__getitem__, range(len(self)))
            return
        for name, number in zip(self._names, self._of_kind, strict=True):
            folder, label, split = self._kinds[number][:3]
            yield ImageFile(folder, name, label, split)

    def __eq__(self, other: object) -> bool:
        """Whether they are the same files in the same order."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def at(self, positions: Iterable[int]) -> ImageFiles:
        """Those at `positions`, in that order."""
        return ImageFiles(map(self.__getitem__, positions))

    def labels(self) -> Iterator[str | None]:
        """The class of each: no file is made for that."""
        return (self._kinds[number].label for number in self._of_kind)

    def names(self) -> Iterator[str]:
        """The relative path of each."""
        return iter(self._names)


@dataclass(frozen=True)
class Domain:
    """Images gathered under one condition (a site, a camera, an hour), sorted by relative path."""

    name: str
    root: Path
    files: ImageFiles
    classes: tuple[str, ...]
    """Classes that have a folder here, sorted; also those whose folder holds no image."""
    severity: int | None = None
    """Of a corruption, 1 to 5, in benchmarks that have such."""

    @property
    def counts(self) -> dict[str, int]:
        """Images per class, zero for an empty class folder."""
        found = Counter(self.files.labels())
        return {name: found[name] for name in self.classes}


@dataclass(frozen=True)
class Aside:
    """A file that is not read as an image."""

    path: Path
    unread: str
    """The format of an image that is not read, such as HEIF; empty for a file that is no image."""


def count_suffixes(files: Iterable[Aside]) -> dict[str, int]:
    """Files per suffix in lower case, most frequent first; `(none)` for those without."""
    counts = Counter(suffix_of(file.path.name) or NO_SUFFIX for file in files)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
