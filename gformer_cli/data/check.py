"""What is wrong or odd in image folders, found before hours of training are spent on them.

Every image is decoded exactly as training decodes it. Only a few facts are kept of each, so memory does not
grow with the size of the images. No torch here: the command answers at once.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from gformer_cli.folders.domains import Aside, Domain, ImageFile, class_names, count_suffixes
from gformer_cli.images.colour import require_visible
from gformer_cli.images.decoding import (
    LevelsFor,
    Skipped,
    attempt,
    decode_to,
    in_order,
    is_halved,
    look_at_samples,
    open_image,
)
from gformer_cli.images.depth import Depth

ODD_MODES = ("16-bit", "CMYK", "palette", "alpha", "EXIF rotation", "animated", "1-bit", "half size")
"""Kinds of images that are read, but not as they are stored.

`16-bit`: more than 8 bits a channel; `half size`: so large that it is decoded at half its width and height."""
DARK, BRIGHT = 8, 247
"""Of 255: 99 of 100 pixels that stay below the one, or above the other, are nearly black or nearly white."""
_LOOKED_AT = 256
"""Pixels of a side that are looked at to see that."""
EXIF_ORIENTATION = 0x0112


@dataclass(frozen=True)
class DomainCounts:
    """How many image files one domain holds."""

    name: str
    root: str
    images: int
    classes: dict[str, int]
    """Images per class, zero for an empty class folder; no entry at all in a flat folder."""
    missing: tuple[str, ...]
    """Classes that other domains have and this one has not."""


@dataclass(frozen=True)
class Duplicates:
    """Files of equal content."""

    paths: tuple[str, ...]
    across_domains: bool
    across_classes: bool
    """The labels contradict each other."""


@dataclass(frozen=True)
class Sizes:
    """Width and height in pixels of upright images; smallest and largest by area."""

    smallest: tuple[int, int]
    largest: tuple[int, int]
    most_common: tuple[int, int]
    different: int


@dataclass(frozen=True)
class CheckReport:
    """What `check_folders` found. Paths start with the folder that the user named."""

    domains: tuple[DomainCounts, ...]
    unreadable: tuple[Skipped, ...]
    duplicates: tuple[Duplicates, ...]
    odd_modes: dict[str, tuple[str, ...]]
    """Paths for each of `ODD_MODES`; one image may be of several kinds."""
    sizes: Sizes | None
    """None when no image is readable."""
    ignored: tuple[str, ...]
    """Files that are no images."""
    left_aside: dict[str, int]
    """Per suffix how many files are not read: those of `ignored`, and images in formats that are not read."""

    nearly_black: tuple[str, ...] = ()
    """Images of which next to nothing is seen as they are read; often their white level is lower than was thought."""
    nearly_white: tuple[str, ...] = ()
    levels: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """Per domain and kind of samples black and white, in images of more than 8 bits."""
    told: tuple[str, ...] = ()
    """The same in words."""

    @property
    def empty_classes(self) -> list[tuple[str, str]]:
        """(domain, class) of every class folder without an image."""
        return [(d.name, name) for d in self.domains for name, count in d.classes.items() if not count]

    @property
    def ok(self) -> bool:
        """No unreadable or empty file and no empty class folder; everything else is a note."""
        return not self.unreadable and not self.empty_classes

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; `ok` and `empty_classes` are in it."""
        document: dict[str, Any] = {"ok": self.ok, **asdict(self)}
        document["empty_classes"] = [{"domain": domain, "class": name} for domain, name in self.empty_classes]
        document["odd_modes"] = {kind: {"count": len(paths), "paths": paths} for kind, paths in self.odd_modes.items()}
        return document


@dataclass(frozen=True)
class _Facts:
    digest: str
    size: tuple[int, int]
    odd: tuple[str, ...]
    darkest: bool
    brightest: bool


def check_folders(
    domains: Sequence[Domain],
    *,
    aside: Sequence[Aside] = (),
    workers: int,
    white_level: float | None = None,
    advance: Callable[[], None] = lambda: None,
) -> CheckReport:
    """Read every image of `domains` once, in `workers` threads (0: in this one), and report.

    `white_level` is as the setting `data.white_level`.
    `aside` are the files beside them that are not read; images among them count as unreadable. `advance` is called
    after each file. An unreadable image is a finding, never an exception.
    """
    unreadable: list[Skipped] = []
    plain: dict[str, list[str]] = {"black": [], "white": []}
    depth = Depth(white_level).among(domains, look_at_samples)
    odd: dict[str, list[str]] = {kind: [] for kind in ODD_MODES}
    sizes: Counter[tuple[int, int]] = Counter()
    copies: defaultdict[str, list[tuple[Domain, ImageFile]]] = defaultdict(list)
    for domain in domains:
        examined = in_order(partial(_examined, depth=depth), domain.files, workers=workers)
        for file, facts in zip(domain.files, examined, strict=True):
            advance()
            if isinstance(facts, Skipped):
                unreadable.append(Skipped(str(file.path), facts.reason))
                continue
            copies[facts.digest].append((domain, file))
            sizes[facts.size] += 1
            for name, seen in (("black", facts.darkest), ("white", facts.brightest)):
                plain[name] += [str(file.path)] if seen else []
            for kind in facts.odd:
                odd[kind].append(str(file.path))
    unreadable += [Skipped(str(file.path), f"format that is not read: {file.unread}") for file in aside if file.unread]
    classes = class_names(domains)
    return CheckReport(
        domains=tuple(_counts(domain, classes) for domain in domains),
        unreadable=tuple(unreadable),
        duplicates=tuple(_duplicates(group) for group in copies.values() if len(group) > 1),
        odd_modes={kind: tuple(paths) for kind, paths in odd.items()},
        sizes=_sizes(sizes),
        ignored=tuple(str(file.path) for file in aside if not file.unread),
        left_aside=count_suffixes(aside),
        nearly_black=tuple(plain["black"]),
        nearly_white=tuple(plain["white"]),
        levels=depth.found(),
        told=tuple(depth.told()),
    )


def _examined(file: ImageFile, depth: Depth) -> _Facts | Skipped:
    return attempt(file, partial(_examine, levels=partial(depth.of, file.path)))


def _examine(data: bytes, levels: LevelsFor) -> _Facts:
    # first, and whole: an image is readable when training can read it
    (width, height), darkest, brightest = decode_to(data, _seen, levels=levels)
    with open_image(data) as image:
        halved = is_halved(image, data)
        size = (2 * width, 2 * height) if halved else (width, height)
        return _Facts(hashlib.sha256(data).hexdigest(), size, _odd_modes(image, halved), darkest, brightest)


def _seen(image: Image.Image) -> tuple[tuple[int, int], bool, bool]:
    """Size of an RGB image, and whether next to nothing of it is brighter, or darker, than black and white."""
    require_visible(image)
    small = image.resize((min(image.width, _LOOKED_AT), min(image.height, _LOOKED_AT)), Image.Resampling.NEAREST)
    counts = np.asarray(small.histogram()).reshape(3, 256).sum(axis=0)
    few = counts.sum() // 100
    return image.size, bool(counts[DARK:].sum() <= few), bool(counts[: BRIGHT + 1].sum() <= few)


def _odd_modes(image: Image.Image, halved: bool) -> tuple[str, ...]:
    # Pillow opens 16-bit colour as 8-bit RGB; only the decoder's raw mode still tells. BGR;16 is 5-6-5 bits.
    raw = str(getattr(image, "tile", ())).replace("BGR;16", "")
    found = {
        "16-bit": image.mode[0] in "IF" or ";16" in raw,
        "CMYK": image.mode == "CMYK",
        "palette": image.mode in {"P", "PA"},
        "alpha": image.has_transparency_data,
        "EXIF rotation": _rotated(image),
        "animated": _animated(image),
        "1-bit": image.mode == "1",
        "half size": halved,
    }
    return tuple(kind for kind in ODD_MODES if found[kind])


def _rotated(image: Image.Image) -> bool:
    try:
        return image.getexif().get(EXIF_ORIENTATION, 1) in range(2, 9)
    except Exception:  # as in decoding: EXIF that cannot be read turns nothing
        return False


def _animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a later frame is broken; only the first is ever read, and that one is whole
        return True


def _counts(domain: Domain, classes: Sequence[str]) -> DomainCounts:
    # a flat folder has no labels, so it does not lack any either
    missing = tuple(name for name in classes if name not in domain.classes) if domain.classes else ()
    return DomainCounts(domain.name, str(domain.root), len(domain.files), domain.counts, missing)


def _duplicates(group: Sequence[tuple[Domain, ImageFile]]) -> Duplicates:
    return Duplicates(
        paths=tuple(str(file.path) for _, file in group),
        across_domains=len({domain.name for domain, _ in group}) > 1,
        across_classes=len({file.label for _, file in group if file.label is not None}) > 1,
    )


def _sizes(sizes: Counter[tuple[int, int]]) -> Sizes | None:
    if not sizes:
        return None
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    most_common = max(by_area, key=lambda size: sizes[size])
    return Sizes(by_area[0], by_area[-1], most_common, len(sizes))
