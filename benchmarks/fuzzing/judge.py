"""What gformer makes of a tree of folders, compared with what is known to be in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fuzzing.mutations import unclear
from fuzzing.pictures import Picture
from fuzzing.trees import File, Folder, Tree, Truth, nfc, truth
from gformer_cli.console import one_line
from gformer_cli.data.check import check_folders
from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import to_json
from gformer_cli.folders.domains import Domain, Found, Known, Layout, check_names, find_images
from gformer_cli.folders.walking import DEEPEST
from gformer_cli.images.preprocessing import Decoded, Preprocessing, Skipped, read_images
from gformer_cli.report.check import check_summary
from gformer_cli.watch.incoming import Incoming

SIZE = 8
ALIKE = ("spelled", "two domains are called")
"""Told of two folders whose names look the same."""


def judge(tree: Tree, root: Path) -> Iterator[str]:
    """Complaints about whatever differs from what is there."""
    there = truth(tree, DEEPEST)
    flat = find_images([root], Layout.flat, unlabelled=True)
    yield from _complete(flat, root, there)
    yield from _names(flat, tree, there, "flat")
    for layout in Layout:
        for unlabelled in (True, False):
            for classes in (frozenset[str](), tree.classes):
                yield from _nesting(tree, root, there, layout, unlabelled, classes)
    yield from _watched(root, there)
    skipped: set[str] = set()
    yield from _pixels(flat, there, skipped)
    yield from _checked(flat, skipped)


def complaint(error: InputError | WorkError, root: Path, there: Truth) -> str:
    """What is wrong with the words of an error; names of files may make them long."""
    longest = 500 + 6 * max(map(len, (*there.files, *there.folders, *there.too_deep, str(root))))
    if unclear(one_line(error.message), longest=longest):
        return f"unclear: {error.message!r}"
    return "" if error.hint and not unclear(one_line(error.hint), longest=longest) else f"unclear: hint {error.hint!r}"


def _complete(found: Found, root: Path, there: Truth) -> Iterator[str]:
    """No file is lost, none comes twice, and images are told from others."""
    images = Counter(file.path.relative_to(root).as_posix() for domain in found.domains for file in domain.files)
    aside = Counter(file.path.relative_to(root).as_posix() for file in found.aside)
    for name in sorted({*images, *aside, *there.files}):
        times = images[name] + aside[name]
        node = there.files.get(name)
        if times != int(name in there.files):
            yield f"{name!r} is named {times} times, and {int(name in there.files)} would be right"
        elif isinstance(node, File) and node.is_image is not None and node.is_image != bool(images[name]):
            what = node.picture.name if node.picture else node.data[:20]
            yield f"{name!r} ({what}) is {'left aside' if node.is_image else 'taken for an image'}"
    unseen = sorted(path.relative_to(root).as_posix() for path, _ in found.unseen)
    if unseen != sorted(there.too_deep):
        yield f"unseen are {unseen} and not {there.too_deep}"


def _names(found: Found, tree: Tree, there: Truth, layout: str) -> Iterator[str]:
    """Domains, classes and labels are called as the user's folders are."""
    depth = {"flat": 0, "domain": 1, "domains": 2}[layout]
    inner: set[tuple[str, str]] = set()
    for name in there.folders:
        parts = [nfc(part) for part in name.split("/")]
        if len(parts) == depth:
            inner.add((nfc(tree.root) if depth == 1 else parts[0], parts[-1]))
    domains = {domain.name for domain in found.domains}
    classes = {(domain.name, name) for domain in found.domains for name in domain.classes}
    if classes != {pair for pair in inner if pair[0] in domains}:
        yield f"{layout}: classes are {sorted(classes)} and not {sorted(inner)}"
    for domain in found.domains:
        for file in domain.files:
            parts = [nfc(part) for part in file.path.relative_to(domain.root.parent).parts]
            wanted = parts[1] if depth else None
            if domain.name != parts[0] or file.label != wanted:
                yield f"{layout}: {file.relative!r} is of {domain.name!r}, {file.label!r}"


def _nesting(
    tree: Tree, root: Path, there: Truth, layout: Layout, unlabelled: bool, classes: frozenset[str]
) -> Iterator[str]:
    """Everything is found and named rightly, or the user is asked; the latter only where it may be."""
    what = f"{layout.value}{', unlabelled' if unlabelled else ''}{', classes known' if classes else ''}"
    try:
        found = find_images([root], layout, unlabelled=unlabelled, known=Known(classes))
    except InputError as error:
        text = complaint(error, root, there)
        if text:
            yield f"{what}: {text}"
        yield from _rightly_refused(tree, layout, unlabelled, classes, error, what)
        return
    for text in _complete(found, root, there):
        yield f"{what}: {text}"
    chosen = layout.value if layout is not Layout.auto else tree.layout
    if layout is Layout.auto and tree.asks and not classes:
        yield f"{what}: it was not asked how to read {tree.shape}"
    elif layout is not Layout.auto or tree.layout != "flat" or not found.domains[0].classes:
        yield from _names(found, tree, there, chosen)
    else:
        yield f"{what}: a flat folder has classes"
    yield from _encodable(found.domains)


def _encodable(domains: Sequence[Domain]) -> Iterator[str]:
    """Names that are not UTF-8 can be predicted on, and cannot be trained on."""
    names = [name for domain in domains for name in (domain.name, *domain.classes)]
    try:
        check_names(domains)
        refused = False
    except InputError:
        refused = True
    if refused != any("\udc80" <= letter <= "\udcff" for name in names for letter in name):
        yield f"names {names} are {'refused' if refused else 'taken'}"


def _rightly_refused(
    tree: Tree, layout: Layout, unlabelled: bool, classes: frozenset[str], error: InputError, what: str
) -> Iterator[str]:
    if layout is not Layout.flat and any(words in error.message for words in ALIKE):
        if not _has_alike(tree):
            yield f"{what}: {error.message}"
        return
    told = f"{error.message} {error.hint}"
    if layout is Layout.auto:
        wanted = tree.layout != "flat" or unlabelled
        if wanted and tree.shape in ("flat", "domain", "domains"):
            yield f"{what}: refused: {error.message}"
        if wanted and classes and tree.shape in ("sessions", "apart"):
            yield f"{what}: asked though the classes are known: {error.message}"
        if wanted and "--layout" not in told:
            yield f"{what}: no word of --layout: {told}"
    elif layout.value == tree.layout and (unlabelled or layout is not Layout.flat):
        yield f"{what}: refused though the layout is named: {error.message}"
    elif unlabelled and "--layout" not in told:
        yield f"{what}: no word of --layout: {told}"


def _has_alike(tree: Tree) -> bool:
    waiting = [tree.folder]
    while waiting:
        folder = waiting.pop()
        if len({nfc(name) for name in folder.inside}) < len(folder.inside):
            return True
        waiting += [node for node in folder.inside.values() if isinstance(node, Folder)]
    return False


def _watched(root: Path, there: Truth) -> Iterator[str]:
    """A watcher sees the same images, each once, and counts what it leaves aside."""
    incoming = Incoming(root, settle=1.0, known=(set(), set()))
    incoming.scan(0.0)
    incoming.update(2.0)
    taken: list[str] = []
    while (due := incoming.due(2.0, batch_size=3, max_wait=0.0)) is not None:
        arrivals, gone = incoming.take(due.domain, due.count, 2.0)
        taken += [arrival.relative for arrival in arrivals]
        if gone or not arrivals:
            yield f"watched: gone are {gone}"
            return
    some = [name for name, node in there.files.items() if isinstance(node, File) and node.is_image is None]
    if sorted(set(taken) - set(some)) != sorted(there.images) or len(set(taken)) != len(taken):
        yield f"watched: {sorted(set(taken) ^ set(there.images))[:5]} differ"
    if len(taken) + incoming.contents.left_aside.total() != len(there.files):
        yield f"watched: {len(taken)} images, {incoming.contents.left_aside} left aside, of {len(there.files)}"
    if len(incoming.contents.unreadable) != len(there.too_deep):
        yield f"watched: {incoming.contents.unreadable} not looked into"


def _pixels(found: Found, there: Truth, skipped: set[str]) -> Iterator[str]:
    """Whole images are read as they are, and nothing else is; paths of the others go to `skipped`."""
    resize = ("crop", "stretch")[len(there.files) % 2]
    preprocessing = Preprocessing(SIZE, resize, (0.5,) * 3, (0.5,) * 3).among(found.domains)
    files = [file for domain in found.domains for file in domain.files]
    for file, item in zip(files, read_images(files, preprocessing, workers=0), strict=True):
        node = there.files[file.relative]
        picture = (node.picture or node.part_of) if isinstance(node, File) else None
        if isinstance(item, Skipped):
            skipped.add(str(file.path))
            if unclear(one_line(item.reason)):
                yield f"{file.relative!r}: {unclear(item.reason)}"
            if isinstance(node, File) and node.picture is not None:
                yield f"{file.relative!r} ({node.picture.name} {node.picture.pixels.shape}) is skipped: {item.reason}"
        elif picture is None:
            yield f"{file.relative!r} is read, and is no image"
        else:
            yield from _same(file.relative, item, picture, resize)


def _same(name: str, item: Decoded, picture: Picture, resize: str) -> Iterator[str]:
    whole = Image.fromarray(np.ascontiguousarray(picture.pixels))
    if resize == "crop":
        wanted = ImageOps.fit(whole, (SIZE, SIZE), Image.Resampling.BILINEAR)
    else:
        wanted = whole.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    off = np.abs(item.pixels.permute(1, 2, 0).numpy().astype(float) - np.asarray(wanted, dtype=float)).mean()
    if off > picture.tolerance:
        yield f"{name!r} ({picture.name} {picture.pixels.shape}, {resize}): levels are {off:.2f} off on average"


def _checked(found: Found, skipped: set[str]) -> Iterator[str]:
    """`gformer data check` calls the same files unreadable, and shows nothing that steers a terminal."""
    report = check_folders(found.domains, aside=found.aside, workers=0)
    unread = {str(file.path) for file in found.aside if file.unread}
    if {item.path for item in report.unreadable} != skipped | unread:
        yield f"checked: {[item for item in report.unreadable if item.path not in skipped | unread][:3]} differ"
    if sum(report.left_aside.values()) != len(found.aside):
        yield f"checked: {report.left_aside} left aside, of {len(found.aside)}"
    json.loads(to_json(report.to_json()))
    for line in check_summary(report, verbose=True):
        if isinstance(line, str) and not line.replace("\n", "").isprintable():
            yield f"checked: {line!r} is shown"
