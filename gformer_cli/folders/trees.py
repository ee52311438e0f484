"""One folder: what lies below it, and the domains and classes that its folders are."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from pathlib import Path

from gformer_cli.console import amount
from gformer_cli.errors import InputError
from gformer_cli.folders.image_files import Aside, Domain, ImageFile, ImageFiles, count_suffixes
from gformer_cli.folders.nesting import LABELS_WANTED, Known, Layout, choose_layout, has_severity, known_name, nfc
from gformer_cli.folders.sniffing import IMAGE_SUFFIXES, kind_of
from gformer_cli.folders.walking import is_too_far, walk

ACCESS = "Check its permissions, and that nothing moves it meanwhile."


@dataclass
class Listing:
    """Relative posix paths below one folder, sorted."""

    folder: Path
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    aside: list[Aside] = field(default_factory=list)
    unseen: list[tuple[Path, str]] = field(default_factory=list)


def list_files(folder: Path) -> Listing:
    listing = Listing(folder)

    def refuse(path: str, error: OSError) -> None:
        if not is_too_far(error):  # it went away, or was closed to us, while it was walked
            raise InputError(f"cannot read folder {path}: {error.strerror}", ACCESS) from None
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


def without_images(listing: Listing) -> InputError:
    counts = ", ".join(f"{count} {suffix}" for suffix, count in count_suffixes(listing.aside).items())
    return InputError(
        f"no images below {listing.folder}" + (f" (other files: {counts})" if counts else ""),
        "Images are recognised by suffix or content: " + " ".join(sorted(IMAGE_SUFFIXES)) + ".",
    )


def domains_of(listing: Listing, layout: Layout, unlabelled: bool, known: Known, empty: list[Path]) -> list[Domain]:
    folder, images = listing.folder, listing.images
    if layout is Layout.auto:
        layout = choose_layout(folder, images, known, unlabelled=unlabelled)
    if layout is Layout.flat:
        if not unlabelled:
            raise InputError(f"labels are needed, but {folder} is to be read as a flat folder", LABELS_WANTED)
        files = ImageFiles(ImageFile(folder, name) for name in images)
        return [Domain(known_name(own_name(folder), known.domains), folder, files, ())]
    if layout is Layout.severities:
        return _severities(listing, known)
    depth = 1 if layout is Layout.domain else 2
    # deeper is fine once the layout is named: folders inside a class folder belong to the class
    astray = [name for name in images if name.count("/") < depth]
    if astray:
        wanted = "DIR/class/image" if depth == 1 else "DIR/domain/class/image"
        raise InputError(
            f"{amount(len(astray), 'image does', 'images do')} not lie at {wanted}, such as {folder / astray[0]}",
            "Move them into class folders, or name another --layout: domain, domains"
            + (" or flat." if unlabelled else "."),
        )
    if layout is Layout.domain:
        return [_domain(own_name(folder), folder, "", listing, known)]
    names = sorted({name.split("/", 1)[0] for name in images}, key=nfc)
    empty += [folder / name for name in sorted(listing.folders) if "/" not in name and name not in names]
    return [_domain(name, folder / name, f"{name}/", listing, known) for name in names]


def _severities(listing: Listing, known: Known) -> list[Domain]:
    places = dict.fromkeys(tuple(name.split("/", 2)[:2]) for name in listing.images)
    if not all(map(has_severity, places)) or any(name.count("/") < 3 for name in listing.images):
        raise InputError(
            f"the images of {listing.folder} do not all lie at DIR/corruption/severity/class/image",
            "Severities are 1 to 5. Name another --layout.",
        )
    found = []
    for corruption, severity in places:
        name, root = f"{corruption}-{severity}", listing.folder / corruption / severity
        own = _domain(name, root, f"{corruption}/{severity}/", listing, known)
        found.append(replace(own, severity=int(severity)))
    return found


def _domain(name: str, root: Path, prefix: str, listing: Listing, known: Known) -> Domain:
    """The domain of every image whose path begins with `prefix`."""
    classes: dict[str, str] = {}
    labels: dict[str, str] = {}
    for path in listing.folders:
        below = path.removeprefix(prefix)
        if not path.startswith(prefix) or "/" in below:
            continue
        label = labels[below] = known.class_of(below)
        if nfc(below) in known.mapped:  # several folders may be of one class
            continue
        if label in classes:
            raise InputError(
                f"{root} has two class folders called {label!r}, spelled {classes[label]!a} and {below!a}",
                "They look the same and are one class: move the images into one of them.",
            )
        classes[label] = below
    images = listing.images
    first = bisect_left(images, prefix)  # they are sorted, so those of a domain stand together
    end = bisect_left(images, True, lo=first, key=lambda image: not image.startswith(prefix))
    files = ImageFiles(
        ImageFile(listing.folder, images[place], labels[images[place].removeprefix(prefix).split("/", 1)[0]])
        for place in range(first, end)
    )
    return Domain(known_name(name, known.domains), root, files, tuple(sorted({*labels.values()})))


def own_name(folder: Path) -> str:
    """The name that the user gave it: a link's own, not that of the folder it leads to."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name or str(folder)
