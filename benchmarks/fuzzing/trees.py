"""Trees of folders that know themselves what is in them and how they are to be read; `growing.py` makes them."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from fuzzing.pictures import Picture


def words(*texts: str) -> list[str]:
    """Names between spaces; in a text with bars, between those alone."""
    return [name for text in texts for name in (text.split("|") if "|" in text else text.split())]


HIDDEN = words(
    "@eaDir #recycle __MACOSX lost+found $RECYCLE.BIN .thumbnails .git @EADIR #snapshot Recycler",
    "System Volume Information|Temporary Items|~snapshot",
)
HIDDEN_FILES = words(".DS_Store ._a.jpg Thumbs.db desktop.ini .hidden.png THUMBS.DB", "Icon\r|.nomedia")


@dataclass
class File:
    """A regular file. `picture` is None for what is no image, or no whole one."""

    data: bytes
    picture: Picture | None = None
    is_image: bool | None = False
    """Whether it must be listed as an image; None if either will do."""
    part_of: Picture | None = None
    """It is this one, cut off: it may be read if that changes no pixel."""


@dataclass
class Pipe:
    """A named pipe, which must not be opened."""


@dataclass
class Folder:
    """A folder by the names of what is in it."""

    inside: dict[str, Node] = field(default_factory=dict)


@dataclass
class Link:
    """A symbolic link; to nothing, to itself or to a device if there is no target."""

    target: Folder | File | None


Node = File | Pipe | Folder | Link


@dataclass
class Tree:
    """A folder to be read, beside others that links lead to, and what reading it must give."""

    shape: str
    holder: Folder
    root: str
    """The name of the folder to be read, in `holder`."""
    layout: str = "flat"
    """How it is meant; empty for one in which no other layout takes every image."""
    classes: frozenset[str] = frozenset()
    """Those that a model would know, where that tells how the tree is meant."""
    asks: bool = False
    """Without knowing its classes it can be read in several ways, or ought not to be read."""

    @property
    def folder(self) -> Folder:
        node = self.holder.inside[self.root]
        node = node.target if isinstance(node, Link) else node
        assert isinstance(node, Folder)
        return node


@dataclass
class Truth:
    """What there is below a tree's folder, by relative paths, as often as links lead to it."""

    files: dict[str, File | Pipe | None] = field(default_factory=dict)
    """None for links that lead to no file."""
    folders: list[str] = field(default_factory=list)
    too_deep: list[str] = field(default_factory=list)

    @property
    def images(self) -> list[str]:
        return [name for name, node in self.files.items() if isinstance(node, File) and node.is_image]


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def truth(tree: Tree, deepest: int) -> Truth:
    """What is there. Hidden names are those that the generator took from its lists of such."""
    found = Truth()
    hidden = {*HIDDEN, *HIDDEN_FILES}
    waiting: list[tuple[str, Folder, tuple[int, ...]]] = [("", tree.folder, (id(tree.folder),))]
    while waiting:
        prefix, folder, above = waiting.pop()
        for name, inside in folder.inside.items():
            if name in hidden:
                continue
            node = inside.target if isinstance(inside, Link) else inside
            relative = prefix + name
            if not isinstance(node, Folder):
                found.files[relative] = node
            elif id(node) not in above:
                if len(above) > deepest:
                    found.too_deep.append(relative)
                    continue
                found.folders.append(relative)
                waiting.append((f"{relative}/", node, (*above, id(node))))
    return found


# --- onto the disk


def write(tree: Tree, place: Path) -> Path:
    """Make the tree in `place`, which is not there yet; returns the folder that is to be read."""
    place.mkdir()
    holder = place / "holder"
    holder.mkdir()
    paths: dict[int, str] = {id(tree.holder): str(holder)}
    links: list[tuple[str, Link]] = []
    waiting = [(str(holder), tree.holder)]
    while waiting:
        path, folder = waiting.pop()
        for name, node in folder.inside.items():
            where = f"{path}/{name}"
            if isinstance(node, Folder):
                Path(where).mkdir()
                paths[id(node)] = where
                waiting.append((where, node))
            elif isinstance(node, Link):
                links.append((where, node))
            elif isinstance(node, Pipe):
                os.mkfifo(where)
            else:
                Path(where).write_bytes(node.data)
    for number, (where, link) in enumerate(links):
        if isinstance(link.target, File):
            kept = place / f"kept {number}"
            kept.write_bytes(link.target.data)
            paths[id(link.target)] = str(kept)
        nothing = (str(place / "nowhere"), where, "/dev/zero", "/dev/null")[number % 4]
        target = nothing if link.target is None else paths[id(link.target)]
        Path(where).symlink_to(os.path.relpath(target, Path(where).parent) if number % 2 else target)
    return holder / tree.root
