"""Moving an image that is predicted, so that no moment of a kill loses or doubles it.

Nothing outside of the watched folder is ever moved, whoever puts links into it at whatever moment: the way to the file
is walked folder by folder, no link among them. Where a link itself is the image, the link is moved, not what it leads
to.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from gformer_cli.watch.ledger import Stamp

_CHUNK = 1 << 20
_CHANGED = "it has changed since it was predicted"
_ATOMIC = {os.open, os.stat, os.unlink, os.rename, os.readlink} <= os.supports_dir_fd


class Changed(OSError):
    """What was to be moved is no longer what was predicted."""


def move(root: Path, relative: str, destination: Path, stamp: Stamp) -> Path:
    """Move the image `relative` of `root` to the same place below `destination`, and return where to.

    Nothing is ever replaced: `a.png` may become `a~1.png`. Between two disks the copy is complete and on the disk
    before the original goes. Where a kill came between the two, the next call finds the copy and only removes the
    original.

    An image that is a link is moved as a link, made absolute so that it leads to the same file from there.

    Raises `OSError` as well for what lies in a linked folder, and for a link to a file of `root` itself, which moves
    too; `Changed` for a file that is not as `stamp` says, which is another image.
    """
    wanted = destination / relative
    with _folder_of(root, relative) as folder:
        name = PurePosixPath(relative).name if folder is not None else str(root / relative)
        seen = os.stat(name, dir_fd=folder)
        if (seen.st_size, seen.st_mtime_ns) != stamp:
            raise Changed(errno.ESTALE, _CHANGED)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        own = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(own.st_mode):
            return _move_link(root, relative, name, folder, wanted)
        return _move_file(name, folder, own, wanted)


def _move_file(name: str, folder: int | None, own: os.stat_result, wanted: Path) -> Path:
    for place in _places(wanted):
        if not os.path.lexists(place):
            break
        if _copied_already(name, folder, own, place):
            os.unlink(name, dir_fd=folder)
            return place
    try:
        os.rename(name, place, src_dir_fd=folder)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(name, folder, own, place)
        os.unlink(name, dir_fd=folder)
        return place
    if not os.path.samestat(place.lstat(), own):  # another image came under its name in between: back with it
        os.link(place, name, dst_dir_fd=folder, follow_symlinks=False)
        place.unlink()
        raise Changed(errno.ESTALE, _CHANGED)
    return place


def _move_link(root: Path, relative: str, name: str, folder: int | None, wanted: Path) -> Path:
    real = Path(os.path.realpath(root))
    target = real / PurePosixPath(relative).parent / os.readlink(name, dir_fd=folder)
    leads_to = Path(os.path.realpath(target.parent)) / target.name
    if Path(os.path.realpath(leads_to)).is_relative_to(real):
        raise OSError(errno.ELOOP, "it is a link to an image of the same folder")
    for place in _places(wanted):
        if place.is_symlink() and place.readlink() == leads_to:
            break  # a kill came after it was made
        with suppress(FileExistsError):
            place.symlink_to(leads_to)
            break
    os.unlink(name, dir_fd=folder)
    return place


@contextmanager
def _folder_of(root: Path, relative: str) -> Iterator[int | None]:
    """A descriptor of the folder in which a file lies; None where the system has no such way to name files."""
    if not _ATOMIC:
        real = os.path.realpath((root / relative).parent)
        if os.path.normcase(real) != os.path.normcase((Path(os.path.realpath(root)) / relative).parent):
            raise _behind_a_link()
        yield None
        return
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in PurePosixPath(relative).parent.parts:
            try:
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise _behind_a_link() from None
                raise
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def _behind_a_link() -> OSError:
    return OSError(errno.ELOOP, "it lies in a linked folder")


def _open(name: str, folder: int | None, own: os.stat_result) -> int:
    """The file that was looked at, and no other that has taken its place."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.open(name, flags, dir_fd=folder)
    if not os.path.samestat(os.fstat(file), own):
        os.close(file)
        raise Changed(errno.ESTALE, _CHANGED)
    return file


def _copy(name: str, folder: int | None, own: os.stat_result, place: Path) -> None:
    part = place.with_name(f".{place.name[:40]}.part")
    try:
        with open(_open(name, folder, own), "rb") as source, part.open("wb") as copy:
            shutil.copyfileobj(source, copy, _CHUNK)
            copy.flush()
            os.fsync(copy.fileno())
        part.chmod(stat.S_IMODE(own.st_mode))
        os.utime(part, ns=(own.st_atime_ns, own.st_mtime_ns))
        part.rename(place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _copied_already(name: str, folder: int | None, own: os.stat_result, place: Path) -> bool:
    there = place.lstat()
    if not stat.S_ISREG(there.st_mode) or (there.st_size, there.st_mtime_ns) != (own.st_size, own.st_mtime_ns):
        return False
    with open(_open(name, folder, own), "rb") as one, place.open("rb") as other:
        while block := one.read(_CHUNK):
            if block != other.read(_CHUNK):
                return False
    return True


def original_name(name: str) -> str:
    """What a moved file was called: `x/a~1.png` was `x/a.png`; any other name is its own."""
    return _NUMBER.sub("", name)


_NUMBER = re.compile(r"~[0-9]+(?=(\.[^./]*)?$)")
"""What `_places` adds."""


def _places(destination: Path) -> Iterator[Path]:
    yield destination
    for number in itertools.count(1):
        yield destination.with_name(f"{destination.stem}~{number}{destination.suffix}")
