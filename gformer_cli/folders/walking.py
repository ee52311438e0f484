"""Everything below a folder, in an order that does not change, whatever links, depths and names are there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

DEEPEST = 100
"""Folders that are looked into below one another: more come of a mistake or of malice, and paths may get too long."""
MOST_AGAIN = 200_000
"""Entries of folders that links lead to a second time: a few links to each other multiply without end."""
_TOO_FAR = (errno.ENAMETOOLONG, errno.ELOOP)


def words(text: str) -> frozenset[str]:
    """The words of a text: sets of names are read more easily so."""
    return frozenset(text.split())


_HIDDEN = words(
    """
    $recycle.bin @database @eadir @recently-snapshot @recycle @sharebin @tmp __macosx #recycle #snapshot aquota.group
    aquota.user desktop.ini ehthumbs.db ehthumbs_vista.db found.000 lost+found picasa.ini recycler thumbs.db
    thumbs.db:encryptable zbthumbnail.info ~snapshot
    """
) | {"network trash folder", "system volume information", "temporary items", "thevolumesettingsfolder", "icon\r"}
"""What systems, network storage and viewers leave in folders of images."""


class Found(NamedTuple):
    """One file or folder."""

    relative: str
    """Its path below the folder that was walked, with slashes."""
    entry: os.DirEntry[str]
    is_folder: bool


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's images: hidden, or a system's own."""
    return name.startswith(".") or name.lower() in _HIDDEN


def is_hidden_path(relative: str) -> bool:
    """Whether any part of a relative path is hidden."""
    return any(is_hidden(part) for part in relative.split("/"))


def is_too_far(error: OSError) -> bool:
    """Whether a folder was not looked into for its depth or the length of its path, not because it is closed to us."""
    return error.errno in _TOO_FAR


def walk(root: Path, refused: Callable[[str, OSError], None]) -> Iterator[Found]:
    """Every folder and file below `root` that is not hidden, folders before what they hold.

    Links are followed under their own names, as often as they lead somewhere, but not back to a folder that they lie
    in. A folder that cannot be looked into is told to `refused`, which may raise, and is left out.
    """
    seen: set[tuple[int, int]] = set()
    above: list[tuple[int, int]] = []
    again = 0
    waiting: list[tuple[str, Iterator[os.DirEntry[str]], bool]] = []

    def enter(path: str, prefix: str, *, linked: bool) -> bool:
        nonlocal again
        try:
            status = Path(path).stat()
            place = status.st_dev, status.st_ino
            if place in above:
                return False
            if len(above) > DEEPEST:
                raise OSError(errno.ENAMETOOLONG, f"it lies more than {DEEPEST} folders deep")
            if linked and place in seen and again > MOST_AGAIN:
                raise OSError(errno.ELOOP, "links lead to the same files again and again")
            with os.scandir(path) as entries:
                found = sorted(
                    (entry for entry in entries if not is_hidden(entry.name)),
                    key=lambda entry: (entry.is_symlink(), entry.name),
                )
        except OSError as error:
            refused(path, error)
            return False
        again += (1 + len(found)) * (linked and place in seen)
        seen.add(place)
        above.append(place)
        waiting.append((prefix, iter(found), linked))
        return True

    enter(str(root), "", linked=False)
    while waiting:
        prefix, entries, linked = waiting[-1]
        for entry in entries:
            relative = prefix + entry.name
            if not _is_folder(entry):
                yield Found(relative, entry, False)
            elif enter(entry.path, f"{relative}/", linked=linked or entry.is_symlink()):
                yield Found(relative, entry, True)
                break
        else:
            waiting.pop()
            above.pop()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # a link to itself
        return entry.is_dir()
    return False
