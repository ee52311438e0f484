"""What lies in a watched folder: its images, and what is left aside. Nothing here decodes an image or writes a file."""

from __future__ import annotations

import errno
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from gformer_cli.folders.domains import nfc
from gformer_cli.folders.sniffing import IMAGE_SUFFIXES, NO_SUFFIX, Kind, kind_of, suffix_of
from gformer_cli.folders.walking import DEEPEST, is_hidden_path, is_too_far, walk
from gformer_cli.watch.ledger import Stamp


class Contents:
    """The files below `root`, as the last walk found them. Names are relative to it, with `/` between folders."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unreadable: list[str] = []
        """What could not be looked into, with the reason."""
        self.left_aside: Counter[str] = Counter()
        """Files per suffix that were passed over, because they are no images or of a format not read."""
        self.unread: dict[str, str] = {}
        """Those that are images, with their formats."""
        self.folders: list[str] = []
        """Sub-folders that were looked into."""
        self.is_whole = True
        """Whether everything was looked into that can hold an image."""
        self._kinds: dict[str, tuple[Stamp, Kind]] = {}
        """Of files without the suffix of an image: looked into once, unless they change."""
        self._place = _place(root)

    @property
    def in_place(self) -> bool:
        """Whether the folder is the one that it was at first."""
        place = _place(self.root)
        return place is not None and place == self._place

    def walk(self) -> Iterator[tuple[str, Stamp]]:
        """Every image that is there now, with its stamp; tells on the way what else there is."""
        self.unreadable, self.is_whole = [], True
        self.left_aside, self.unread, self.folders = Counter(), {}, []
        kinds: dict[str, tuple[Stamp, Kind]] = {}

        def refused(path: str, error: OSError) -> None:
            self.unreadable.append(f"{path}: {error.strerror}")
            self.is_whole = self.is_whole and is_too_far(error)

        for relative, entry, is_folder in walk(self.root, refused):
            if is_folder:
                self.folders.append(relative)
                continue
            kind = Kind(False)
            try:
                status = entry.stat()
                if stat.S_ISREG(status.st_mode):
                    stamp = Stamp(status.st_size, status.st_mtime_ns)
                    kind = self._kind(relative, stamp)
            except FileNotFoundError:
                if not entry.is_symlink():  # it has gone
                    continue
            except OSError:  # a link that leads nowhere
                pass
            if relative in self._kinds:
                kinds[relative] = self._kinds[relative]
            if kind.is_read:
                yield relative, stamp
                continue
            self.left_aside[suffix_of(relative) or NO_SUFFIX] += 1
            if kind.unread:
                self.unread[relative] = kind.unread
        self._kinds = kinds

    def names(self) -> Iterator[str]:
        """Every image that is there now, complete or not."""
        return (relative for relative, _ in self.walk())

    def is_image(self, relative: str) -> bool:
        """Of a file that may have gone, or not be one."""
        if is_hidden_path(relative) or relative.count("/") > DEEPEST:
            return False
        try:
            return self._kind(relative, self.stamp(relative)).is_read
        except OSError:
            return False

    def stamp(self, relative: str) -> Stamp:
        """Of a file as it is now. Raises `OSError` where there is none."""
        path = self.root / relative
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a file", path)
        return Stamp(status.st_size, status.st_mtime_ns)

    def _kind(self, relative: str, stamp: Stamp) -> Kind:
        if suffix_of(relative) in IMAGE_SUFFIXES:
            return Kind(True)
        before, kind = self._kinds.get(relative, (None, Kind(False)))
        if before != stamp:
            kind = kind_of(self.root / relative)
            self._kinds[relative] = stamp, kind
        return kind


def domain_of(relative: str, classes: Collection[str] = ()) -> str:
    """The sub-folder of the watched folder in which an image lies; `.` is the watched folder itself.

    A sub-folder that is called like one of `classes` (in the form of `nfc`) is no domain of its own: its batches would
    be of one class.
    """
    first, below, _ = relative.partition("/")
    return nfc(first) if below and nfc(first) not in classes else "."


def images_by_domain(contents: Contents, classes: Collection[str]) -> Counter[str]:
    """How many images each domain holds now."""
    classes = {nfc(name) for name in classes}
    return Counter(domain_of(relative, classes) for relative in contents.names())


def _place(folder: Path) -> tuple[int, int] | None:
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
