"""Image folders: which domains, classes and files lie below the folders a user names.

Two layouts are read: a *domain* is `DIR/class/image`, a *root of domains* is `DIR/domain/class/image`.
A *flat* folder (every image below it, labels unknown) is for unlabelled targets only. Nothing here decodes
an image: see `images.py` for that. Every file that is there is an image of a domain, or named as left aside.

Names of domains and classes are in composed spelling (NFC), or as the bundle or run that is known spells them; paths
are those of the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.folders.image_files import ImageFile, ImageFiles, Part
from gformer_cli.folders.nesting import LABELS_WANTED, Known, Layout, choose_layout, nfc
from gformer_cli.folders.sniffing import IMAGE_SUFFIXES, NO_SUFFIX, kind_of, suffix_of
from gformer_cli.folders.walking import is_too_far, walk

__all__ = [
    "Aside",
    "Domain",
    "Found",
    "ImageFile",
    "ImageFiles",
    "Known",
    "Layout",
    "Part",
    "check_folders_exist",
    "check_names",
    "class_names",
    "count_suffixes",
    "find_domains",
    "find_images",
    "nfc",
]

TABLES = (".csv", ".parquet")
"""Suffixes of tables of images."""
SHARDS = (".tar",)
"""Those of archives of images."""
_ACCESS = "Check its permissions, and that nothing moves it meanwhile."


@dataclass(frozen=True)
class Domain:
    """Images gathered under one condition (a site, a camera, an hour), sorted by relative path."""

    name: str
    root: Path
    files: ImageFiles
    classes: tuple[str, ...]
    """Classes that have a folder here, sorted; also those whose folder holds no image."""

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


@dataclass
class Found:
    """What lies below the folders that were named."""

    domains: list[Domain] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    """Every file that is in none of the domains, but for hidden ones."""
    unseen: list[tuple[Path, str]] = field(default_factory=list)
    """Folders that were not looked into, and why: they lie too deep."""
    empty: list[Path] = field(default_factory=list)
    """Folders in the place of a domain that hold no image."""
    left_out: int = 0
    """Images of other splits than those that were asked for."""


def find_images(
    folders: Sequence[Path],
    layout: Layout = Layout.auto,
    *,
    unlabelled: bool = False,
    known: Known | None = None,
    splits: Collection[str] = (),
) -> Found:
    """What lies below `folders`, domains in the order given (those of one root sorted by name).

    `unlabelled` also admits flat folders: every image below one is taken, with no label. `known` tells which nesting is
    meant, how names are spelled, and of which class folders of other names are. In the place of a folder there may be a
    table (`tables`) or a pattern of shards (`shards`); of both the images of `splits` are taken, or all.

    Raises `InputError` for a missing folder, one without images (where it is the only one or labels are wanted), a
    nesting that can be read two ways, two spellings of one name, and two domains of one name.
    """
    check_folders_exist(folders)
    known = known or Known()
    found = Found()
    for folder in folders:
        if is_named_one_by_one(folder):
            from gformer_cli.folders.gathering import gather  # which builds on this module

            gathering = gather(folder, known, splits, unlabelled=unlabelled)
            found.domains += gathering.domains()
            found.aside += gathering.aside
            found.left_out += gathering.left_out
            continue
        listing = _list(folder)
        found.aside += listing.aside
        found.unseen += listing.unseen
        if listing.images:
            found.domains += _domains(listing, layout, unlabelled, known, found.empty)
        elif unlabelled and len(folders) > 1:
            found.empty.append(folder)
        else:
            raise _without_images(listing)
    if not found.domains:
        raise InputError(f"no images below any of {len(folders)} folders", "Check the paths.")
    _check_distinct(found.domains)
    return found


def find_domains(
    folders: Sequence[Path], layout: Layout = Layout.auto, *, unlabelled: bool = False, known: Known | None = None
) -> list[Domain]:
    """The domains alone of what `find_images` finds."""
    return find_images(folders, layout, unlabelled=unlabelled, known=known).domains


def check_folders_exist(folders: Sequence[Path]) -> None:
    """Raises `InputError` for a folder that is not there, is no folder, or is named twice."""
    for number, folder in enumerate(folders):
        if is_named_one_by_one(folder):
            _check_named(folder, folders[:number])
            continue
        try:
            if not folder.exists():
                raise InputError(f"no such folder: {folder}", "Check the path; it must be a folder of images.")
        except OSError as error:
            raise InputError(f"cannot read folder {folder}: {error.strerror}", _ACCESS) from None
        if not folder.is_dir():
            raise InputError(
                f"not a folder: {folder}",
                "Give the folder that holds the images, a table (.csv, .parquet), or shards (.tar).",
            )
        for other in folders[:number]:
            if _own_name(other) == _own_name(folder) and _are_one(other, folder):
                raise InputError(f"folder given twice: {folder}", "Leave out one of the two.")


def is_named_one_by_one(path: Path) -> bool:
    """Whether `path` is no folder of images, but by its name a table of them or a pattern of shards."""
    return path.suffix.lower() in (*TABLES, *SHARDS) and not path.is_dir()


def _check_named(path: Path, before: Sequence[Path]) -> None:
    if path.suffix.lower() in TABLES and not path.exists():
        raise InputError(f"no such file: {path}", "Check the path; it must be a table of images.")
    if path in before:
        raise InputError(f"{path} is given twice", "Leave out one of the two.")


def class_names(domains: Sequence[Domain]) -> list[str]:
    """Every class of any of `domains`, sorted: the order of the classifier's outputs."""
    return sorted({name for domain in domains for name in domain.classes})


def count_suffixes(files: Iterable[Aside]) -> dict[str, int]:
    """Files per suffix in lower case, most frequent first; `(none)` for those without."""
    counts = Counter(suffix_of(file.path.name) or NO_SUFFIX for file in files)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def check_names(domains: Sequence[Domain]) -> None:
    """Raises `InputError` for a domain or a class that cannot be named in a bundle, which holds UTF-8."""
    for domain in domains:
        for name in (domain.name, *domain.classes):
            try:
                name.encode()
            except UnicodeEncodeError:
                raise InputError(f"folder name that is not UTF-8: {name!r} in {domain.root}", "Rename it.") from None


@dataclass
class _Listing:
    """Relative posix paths below one folder, sorted."""

    folder: Path
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    unseen: list[tuple[Path, str]] = field(default_factory=list)


def _list(folder: Path) -> _Listing:
    listing = _Listing(folder)

    def refuse(path: str, error: OSError) -> None:
        if not is_too_far(error):  # it went away, or was closed to us, while it was walked
            raise InputError(f"cannot read folder {path}: {error.strerror}", _ACCESS) from None
        listing.unseen.append((Path(path), error.strerror or str(error)))

    for relative, entry, is_folder in walk(folder, refuse):
        if is_folder:
            listing.folders.append(relative)
            continue
        kind = kind_of(entry.path)
        if kind.is_read:
            listing.images.append(relative)
        else:
            listing.aside.append(Aside(folder / relative, kind.unread))
    listing.images.sort()
    listing.aside.sort(key=lambda file: file.path)
    return listing


def _without_images(listing: _Listing) -> InputError:
    counts = ", ".join(f"{count} {suffix}" for suffix, count in count_suffixes(listing.aside).items())
    return InputError(
        f"no images below {listing.folder}" + (f" (other files: {counts})" if counts else ""),
        "Images are recognised by suffix or content: " + " ".join(sorted(IMAGE_SUFFIXES)) + ".",
    )


def _domains(listing: _Listing, layout: Layout, unlabelled: bool, known: Known, empty: list[Path]) -> list[Domain]:
    folder, images = listing.folder, listing.images
    if layout is Layout.auto:
        layout = choose_layout(folder, images, known, unlabelled=unlabelled)
    if layout is Layout.flat:
        if not unlabelled:
            raise InputError(f"labels are needed, but {folder} is to be read as a flat folder", LABELS_WANTED)
        files = ImageFiles(ImageFile(folder, name) for name in images)
        return [Domain(known_name(_own_name(folder), known.domains), folder, files, ())]
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
        return [_domain(_own_name(folder), folder, "", listing, known)]
    names = sorted({name.split("/", 1)[0] for name in images}, key=nfc)
    empty += [folder / name for name in sorted(listing.folders) if "/" not in name and name not in names]
    return [_domain(name, folder / name, f"{name}/", listing, known) for name in names]


def _domain(name: str, root: Path, prefix: str, listing: _Listing, known: Known) -> Domain:
    """The domain of every image whose path begins with `prefix`."""
    mapped = {nfc(folder): label for folder, label in known.class_map.items()}
    classes: dict[str, str] = {}
    labels: dict[str, str] = {}
    for path in listing.folders:
        below = path.removeprefix(prefix)
        if not path.startswith(prefix) or "/" in below:
            continue
        if nfc(below) in mapped:  # several folders may be of one class
            labels[below] = known_name(mapped[nfc(below)], known.classes)
            continue
        label = known_name(below, known.classes)
        if label in classes:
            raise InputError(
                f"{root} has two class folders called {label!r}, spelled {classes[label]!a} and {below!a}",
                "They look the same and are one class: move the images into one of them.",
            )
        classes[label] = below
        labels[below] = label
    files = ImageFiles(
        ImageFile(listing.folder, image, labels[image.removeprefix(prefix).split("/", 1)[0]])
        for image in listing.images
        if image.startswith(prefix)
    )
    return Domain(known_name(name, known.domains), root, files, tuple(sorted({*labels.values()})))


def known_name(name: str, known: Iterable[str]) -> str:
    """How `name` is spelled where it is known; else its composed spelling."""
    composed = nfc(name)
    return composed if composed in known else next((other for other in known if nfc(other) == composed), composed)


def _check_distinct(domains: Sequence[Domain]) -> None:
    first: dict[str, Domain] = {}
    for domain in domains:
        other = first.setdefault(domain.name, domain)
        if other is domain:
            continue
        if _are_one(other.root, domain.root):
            raise InputError(
                f"domain {domain.name!r} is given twice: {other.root} and {domain.root}", "Leave out one of the two."
            )
        raise InputError(
            f"two domains are called {domain.name!r}: {other.root} and {domain.root}",
            "Rename one of the folders: results are reported by domain name.",
        )


def _are_one(one: Path, other: Path) -> bool:
    with suppress(OSError):  # it has gone meanwhile
        return one.samefile(other)
    return False


def _own_name(folder: Path) -> str:
    """The name that the user gave it: a link's own, not that of the folder it leads to."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name or str(folder)
