"""Image folders: which domains, classes and files lie below the folders a user names.

Two layouts are read: a *domain* is `DIR/class/image`, a *root of domains* is `DIR/domain/class/image`.
A *flat* folder (every image below it, labels unknown) is for unlabelled targets only. Nothing here decodes
an image: see `images.py` for that. Every file that is there is an image of a domain, or named as left aside.

Names of domains and classes are in composed spelling (NFC), or as the bundle or run that is known spells them; paths
are those of the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.folders import wilds
from gformer_cli.folders.arrays import holds_arrays, read_arrays
from gformer_cli.folders.image_files import Aside, Domain, ImageFile, ImageFiles, Part, count_suffixes
from gformer_cli.folders.named import check_named, gather, is_named_one_by_one
from gformer_cli.folders.nesting import Known, Layout, nfc
from gformer_cli.folders.tables import names_images
from gformer_cli.folders.trees import ACCESS, domains_of, list_files, own_name, without_images

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
    missing: list[Path] = field(default_factory=list)
    """Files that a list names and that are not there."""
    unused: list[Path] = field(default_factory=list)
    """Tables of images among `aside`, at the top of a folder whose nesting nobody has named."""


def find_images(
    folders: Sequence[Path],
    layout: Layout = Layout.auto,
    *,
    unlabelled: bool = False,
    known: Known | None = None,
    splits: Collection[str] = (),
    severity: int | None = None,
) -> Found:
    """What lies below `folders`, domains in the order given (those of one root sorted by name).

    `unlabelled` also admits flat folders: every image below one is taken, with no label. `known` tells which nesting is
    meant, how names are spelled, and of which class folders of other names are. In the place of a folder there may be a
    table (`tables`), a list (`lists`) or a pattern of shards (`shards`); the images of `splits` are taken, or all. A
    folder may also be one of arrays (`arrays`), or a data set that its table tells of (`wilds`). With a `severity`,
    domains of other severities are left out. Folders of one name are told apart by the names above them.

    Raises `InputError` for a missing folder, one without images (where it is the only one or labels are wanted), a
    nesting that can be read two ways, two spellings of one name, and two domains of one name.
    """
    check_folders_exist(folders)
    known = known or Known()
    found = Found()
    for folder in folders:
        table = folder if is_named_one_by_one(folder) else None
        if table is None and layout is Layout.auto:
            table = wilds.table_of(folder)
        if table is not None:
            gathering = gather(table, known, splits, unlabelled=unlabelled)
            found.domains += gathering.domains()
            found.aside += gathering.aside
            found.left_out += gathering.left_out
            found.missing += gathering.missing
            continue
        if holds_arrays(folder):
            found.domains += read_arrays(folder, known)
            continue
        listing = list_files(folder)
        found.aside += listing.aside
        found.unseen += listing.unseen
        if layout is Layout.auto:
            found.unused += [
                file.path for file in listing.aside if file.path.parent == folder and names_images(file.path)
            ]
        if listing.images:
            found.domains += domains_of(listing, layout, unlabelled, known, found.empty)
        elif unlabelled and len(folders) > 1:
            found.empty.append(folder)
        else:
            raise without_images(listing)
    if severity is not None:
        found.domains = _of_severity(found.domains, severity)
    if not found.domains:
        raise InputError(f"no images below any of {len(folders)} folders", "Check the paths.")
    found.domains = _told_apart(found.domains, folders)
    _check_distinct(found.domains)
    return found


def _told_apart(domains: Sequence[Domain], folders: Collection[Path]) -> list[Domain]:
    """`domains`, where `folders` of one name have the name of the folder above in front, if that tells them apart."""
    counts = Counter(domain.name for domain in domains)
    given = Counter(domain.name for domain in domains if domain.root in folders)
    longer = [f"{domain.root.absolute().parent.name}-{domain.name}" for domain in domains]
    return [
        replace(domain, name=name) if counts[domain.name] == given[domain.name] > 1 == longer.count(name) else domain
        for domain, name in zip(domains, longer, strict=True)
    ]


def _of_severity(domains: Sequence[Domain], severity: int) -> list[Domain]:
    kept = [domain for domain in domains if domain.severity == severity]
    if not kept:
        known = sorted({domain.severity for domain in domains if domain.severity is not None})
        raise InputError(
            f"no images of severity {severity}",
            f"There are: {', '.join(map(str, known))}." if known else "These folders know no severities.",
        )
    return kept


def find_domains(
    folders: Sequence[Path], layout: Layout = Layout.auto, *, unlabelled: bool = False, known: Known | None = None
) -> list[Domain]:
    """The domains alone of what `find_images` finds."""
    return find_images(folders, layout, unlabelled=unlabelled, known=known).domains


def check_folders_exist(folders: Sequence[Path]) -> None:
    """Raises `InputError` for a folder that is not there, is no folder, or is named twice."""
    for number, folder in enumerate(folders):
        if is_named_one_by_one(folder):
            check_named(folder, folders[:number])
            continue
        try:
            if not folder.exists():
                raise InputError(f"no such folder: {folder}", "Check the path; it must be a folder of images.")
        except OSError as error:
            raise InputError(f"cannot read folder {folder}: {error.strerror}", ACCESS) from None
        if not folder.is_dir():
            raise InputError(
                f"not a folder: {folder}",
                "Give the folder that holds the images, a table (.csv, .parquet), a list (.txt), or shards (.tar).",
            )
        for other in folders[:number]:
            if own_name(other) == own_name(folder) and _are_one(other, folder):
                raise InputError(f"folder given twice: {folder}", "Leave out one of the two.")


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
