"""Image folders: which domains, classes and files lie below the folders a user names.

Two layouts are read: a *domain* is `DIR/class/image`, a *root of domains* is `DIR/domain/class/image`.
A *flat* folder (every image below it, labels unknown) is for unlabelled targets only. Nothing here opens
an image: see `images.py` for that.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from gformer_cli.errors import InputError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


_LABELS_WANTED = (
    "Sort the images into one folder per class, DIR/class/image or DIR/domain/class/image; "
    "gformer adapt takes unlabelled ones."
)
_ACCESS = "Check its permissions, and that nothing moves it meanwhile."
_DEPTHS = {0: "DIR/image", 1: "DIR/folder/image", 2: "DIR/folder/folder/image"}


class Layout(str, Enum):
    """How the folders below a named folder are to be read."""

    auto = "auto"
    domain = "domain"
    domains = "domains"
    flat = "flat"


@dataclass(frozen=True)
class ImageFile:
    """One image: where it lies, its name relative to the folder the user gave, and its class if known."""

    path: Path
    relative: str
    label: str | None


@dataclass(frozen=True)
class Domain:
    """Images gathered under one condition (a site, a camera, an hour), sorted by relative path."""

    name: str
    root: Path
    files: tuple[ImageFile, ...]
    classes: tuple[str, ...]
    """Names of the class folders, sorted; also those that hold no image."""
    ignored: tuple[str, ...] = field(default=())
    """Relative paths of files that do not have the suffix of an image."""

    @property
    def counts(self) -> dict[str, int]:
        """Images per class, zero for an empty class folder."""
        found = Counter(file.label for file in self.files)
        return {name: found[name] for name in self.classes}


def find_domains(folders: Sequence[Path], layout: Layout = Layout.auto, *, unlabelled: bool = False) -> list[Domain]:
    """The domains below `folders`, in the order given (domains of one root sorted by name).

    `unlabelled` also admits flat folders: every image below one is taken, with no label.

    Raises `InputError` for a missing folder, one without images, a nesting that can be read two ways,
    and two domains of one name.
    """
    domains: list[Domain] = []
    for folder in folders:
        try:
            domains.extend(_read_folder(folder, layout, unlabelled))
        except OSError as error:  # it went away, or was closed to us, while it was walked
            raise InputError(f"cannot read folder {error.filename or folder}: {error.strerror}", _ACCESS) from None
    repeated = [name for name, count in Counter(domain.name for domain in domains).items() if count > 1]
    if repeated:
        both = " and ".join(str(domain.root) for domain in domains if domain.name == repeated[0])
        raise InputError(
            f"two domains are called {repeated[0]!r}: {both}",
            "Rename one of the folders: results are reported by domain name.",
        )
    return domains


def class_names(domains: Sequence[Domain]) -> list[str]:
    """Every class of any of `domains`, sorted: the order of the classifier's outputs."""
    return sorted({name for domain in domains for name in domain.classes})


def check_names(domains: Sequence[Domain]) -> None:
    """Raises `InputError` for a domain or a class that cannot be named in a bundle, which holds UTF-8."""
    for domain in domains:
        for name in (domain.name, *domain.classes):
            try:
                name.encode()
            except UnicodeEncodeError:
                raise InputError(f"folder name that is not UTF-8: {name!r} in {domain.root}", "Rename it.") from None


def _read_folder(folder: Path, layout: Layout, unlabelled: bool) -> list[Domain]:
    if not folder.exists():
        raise InputError(f"no such folder: {folder}", "Check the path; it must be a folder of images.")
    if not folder.is_dir():
        raise InputError(f"not a folder: {folder}", "Give the folder that holds the images, not a file.")
    images, others = _list_files(folder)
    if not images:
        found = f" ({len(others)} other files)" if others else ""
        raise InputError(
            f"no images below {folder}{found}",
            "Images are recognised by suffix: " + " ".join(sorted(IMAGE_SUFFIXES)) + ".",
        )
    if layout is Layout.auto:
        layout = _guess_layout(folder, images, unlabelled)
    if layout is Layout.flat:
        if not unlabelled:
            raise InputError(
                f"labels are needed, but {folder} is to be read as a flat folder",
                _LABELS_WANTED,
            )
        files = tuple(ImageFile(folder / name, name, None) for name in images)
        return [Domain(_own_name(folder), folder, files, (), tuple(others))]
    depth = 1 if layout is Layout.domain else 2
    # deeper is fine once the layout is named: folders inside a class folder belong to the class
    astray = [name for name in images if name.count("/") < depth]
    if astray:
        wanted = "DIR/class/image" if depth == 1 else "DIR/domain/class/image"
        raise InputError(
            f"{len(astray)} images do not lie at {wanted}, such as {folder / astray[0]}",
            "Move them into class folders, or name another --layout: domain, domains"
            + (" or flat." if unlabelled else "."),
        )
    if layout is Layout.domain:
        return [_domain(_own_name(folder), folder, "", images, others)]
    names = sorted({name.split("/", 1)[0] for name in images})
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not _hidden(entry.name) and entry.name not in names:
            raise InputError(f"domain folder without images: {entry}", "Add images, or remove the folder.")
    return [
        _domain(
            name,
            folder / name,
            name + "/",
            [image for image in images if image.startswith(name + "/")],
            [other for other in others if other.startswith(name + "/")],
        )
        for name in names
    ]


def _domain(name: str, root: Path, prefix: str, images: list[str], others: list[str]) -> Domain:
    files = tuple(
        ImageFile(root / image.removeprefix(prefix), image, image.removeprefix(prefix).split("/")[0])
        for image in images
    )
    classes = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _hidden(entry.name)))
    return Domain(name, root, files, classes, tuple(others))


def _guess_layout(folder: Path, images: list[str], unlabelled: bool) -> Layout:
    depths = Counter(name.count("/") for name in images)
    if set(depths) == {0} and unlabelled:
        return Layout.flat
    if set(depths) == {1}:
        return Layout.domain
    if set(depths) == {2}:
        return Layout.domains
    if set(depths) == {0}:
        raise InputError(
            f"{folder} holds images but no class folders, so there are no labels",
            _LABELS_WANTED,
        )
    if 0 in depths and not unlabelled:
        stray = next(name for name in images if "/" not in name)
        raise InputError(
            f"{depths[0]} images lie beside the folders of {folder}, in no class, such as {stray}",
            "Move them into class folders: DIR/class/image or DIR/domain/class/image.",
        )
    where = " and ".join(f"{count} at {_DEPTHS.get(depth, 'DIR/.../image')}" for depth, count in sorted(depths.items()))
    raise InputError(
        f"the nesting of {folder} can be read in more than one way: images {where}",
        "Say which with --layout domain (DIR/class/image) or --layout domains (DIR/domain/class/image)"
        + (", or --layout flat to take every image as unlabelled." if unlabelled else "."),
    )


def _list_files(folder: Path) -> tuple[list[str], list[str]]:
    """Relative posix paths below `folder`, sorted: (images, other files). Hidden entries are passed over."""
    images: list[str] = []
    others: list[str] = []
    for relative in _walk(folder):
        (images if Path(relative).suffix.lower() in IMAGE_SUFFIXES else others).append(relative)
    return sorted(images), sorted(others)


def _walk(folder: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error  # not to be passed over, as os.walk does by default

    seen: set[tuple[int, int]] = set()  # linked folders are followed, each once: links may form loops
    for parent, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            subfolders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not _hidden(name))
        for name in names:
            if not _hidden(name):
                yield (Path(parent) / name).relative_to(folder).as_posix()


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _own_name(folder: Path) -> str:
    return folder.resolve().name or str(folder)
