"""How the folders below a named one are nested, from what is known of their names; asked for where it is not known.

`DIR/a/b/image` may be domain and class, or class and session: nothing in the tree tells, names do.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path

from gformer_cli.console import amount
from gformer_cli.errors import InputError
from gformer_cli.folders.walking import words

LABELS_WANTED = (
    "Sort the images into one folder per class, DIR/class/image or DIR/domain/class/image; "
    "gformer adapt takes unlabelled ones."
)
_DEPTHS = {0: "DIR/image", 1: "DIR/folder/image", 2: "DIR/folder/folder/image"}
_PARTS = words(
    "crossval dev development eval evaluation fold heldout holdout split test testing tests train training trainval "
    "unlabeled unlabelled val valid validation"
)
"""Parts of one data set, which are neither domains nor classes."""
_FILLING = words("a b data dataset image images img imgs photos pictures set")
_MASKS = words(
    "annotation annotations groundtruth groundtruths gt gts labelmaps masks segmentation segmentationclass "
    "segmentationobject segmentations"
)
"""Folders of images that are drawn, not taken."""
_PHOTOGRAPHS = words("image images img imgs jpegimages photo photos")
"""Beside these `mask` is such a folder too; else it may be a class."""
_SEVERITIES = ("1", "2", "3", "4", "5")
_TIMES = re.compile(
    r"(mon|tues?|wed(nes)?|thu(rs)?|fri|satur|sat|sun)(day)?|"
    r"(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sep(t(ember)?)?|oct(ober)?|nov(ember)?|"
    r"dec(ember)?)([-_ .]?\d+)?|"
    r"(19|20)\d\d([-_ .]?\d\d?){0,2}([-_ T]\d.*)?|"
    r"(batch|burst|clip|day|date|frames?|hour|month|part|patient|person|recording|run|scan|scene|seq|sequence|series|"
    r"session|sess|shot|subject|take|trial|video|vid|visit|week|year)s?[-_ .]?\d+",
    re.IGNORECASE,
)
"""Names of sessions: when, or at which time of several, images were taken."""


class Layout(str, Enum):
    """How the folders below a named folder are to be read."""

    auto = "auto"
    domain = "domain"
    domains = "domains"
    severities = "severities"
    flat = "flat"


@dataclass(frozen=True)
class Known:
    """Names that a bundle or a run knows: its classes, and the domains that it was trained on."""

    classes: Collection[str] = field(default=())
    domains: Collection[str] = field(default=())
    class_map: Mapping[str, str] = field(default_factory=dict)
    """The class of a folder by its name, where folders are not named after their class; several may be of one class."""

    @property
    def class_folders(self) -> set[str]:
        """Names of folders that are classes, in composed spelling."""
        return {nfc(name) for name in (*self.classes, *self.class_map)}

    @cached_property
    def mapped(self) -> dict[str, str]:
        """`class_map` by composed spelling."""
        return {nfc(folder): label for folder, label in self.class_map.items()}

    def class_of(self, folder: str) -> str:
        """The class that a folder, or what stands for one, is of; see `known_name`."""
        return known_name(self.mapped.get(nfc(folder), folder), self.classes)


def nfc(name: str) -> str:
    """A name in its composed spelling: what looks the same is the same, whichever system wrote it."""
    return unicodedata.normalize("NFC", name)


def known_name(name: str, known: Iterable[str]) -> str:
    """How `name` is spelled where it is known; else its composed spelling."""
    composed = nfc(name)
    return composed if composed in known else next((other for other in known if nfc(other) == composed), composed)


def choose_layout(folder: Path, images: Sequence[str], known: Known, *, unlabelled: bool) -> Layout:
    """How `folder` is nested, which holds `images` (relative paths).

    Raises `InputError` where that is not known, and for parts of a data set and masks in the place of domains or
    classes.
    """
    depths = Counter(name.count("/") for name in images)
    if set(depths) == {0}:
        if unlabelled:
            return Layout.flat
        raise InputError(f"{folder} holds images but no class folders, so there are no labels", LABELS_WANTED)
    if 0 in depths:
        if unlabelled:
            raise _asked(folder, depths, unlabelled)
        stray = next(name for name in images if "/" not in name)
        raise InputError(
            f"{amount(depths[0], 'image lies', 'images lie')} beside the folders of {folder}, in no class, such as "
            f"{stray}",
            "Move them into class folders: DIR/class/image or DIR/domain/class/image.",
        )
    if min(depths) >= 3 and _are_severities(images, known):
        return Layout.severities
    tree: dict[str, set[str]] = {}
    for name in images:
        first, *below = name.split("/")[:-1]
        tree.setdefault(nfc(first), set()).update(nfc(part) for part in below[:1])
    domains = {nfc(name) for name in known.domains}
    if min(depths) >= 2 and set(tree) <= domains:
        return Layout.domains
    _refuse_masks(folder, images, known, unlabelled)
    _refuse_parts(folder, tree, known, unlabelled)
    if set(depths) == {1}:
        return Layout.domain
    layout = _by_classes(tree, known.class_folders, depths, unlabelled)
    if layout is None and len(tree) == 1 and min(depths) >= 3:
        (only,) = {name.split("/", 1)[0] for name in images}
        raise InputError(
            f"the images of {folder} lie deeper than DIR/domain/class/image, all of them in {only}",
            f"If that folder holds the domains, name it: {folder / only}. {_otherwise(unlabelled)}",
        )
    if layout is None:
        raise _asked(folder, depths, unlabelled, tree)
    return layout


def has_severity(place: Sequence[str]) -> bool:
    """Whether a path begins as those of ImageNet-C do: with a corruption, and a severity from 1 to 5."""
    return len(place) >= 2 and place[1] in _SEVERITIES


def _are_severities(images: Sequence[str], known: Known) -> bool:
    places = {tuple(name.split("/", 2)[:2]) for name in images}
    return all(map(has_severity, places)) and not {severity for _, severity in places} & known.class_folders


def _by_classes(tree: dict[str, set[str]], classes: set[str], depths: Counter[int], unlabelled: bool) -> Layout | None:
    first, second = set(tree), set().union(*tree.values())
    upper, lower = first & classes, second & classes
    nested = min(depths) >= 2
    if upper and (not lower or (upper == first and lower != second)):
        return Layout.domain
    if nested and lower and (not upper or (lower == second and upper != first)):
        return Layout.domains
    if upper or lower or set(depths) != {2}:
        return None
    # where classes are known, first folders of other names are not classes: without labels that is enough
    return Layout.domains if (unlabelled and classes) or _repeats(tree) else None


def _repeats(tree: dict[str, set[str]]) -> bool:
    """Whether second folders are classes by all signs: at least half of their names come under several first ones."""
    if len(tree) == 1:
        return True
    counts = Counter(name for names in tree.values() for name in names)
    if all(_TIMES.fullmatch(name) for name in counts):
        return False
    return 2 * sum(count > 1 for count in counts.values()) >= len(counts)


def _refuse_masks(folder: Path, images: Sequence[str], known: Known, unlabelled: bool) -> None:
    names = known.class_folders | {nfc(name) for name in known.domains}
    beside: dict[tuple[str, ...], set[str]] = {}
    for parts in dict.fromkeys(tuple(image.split("/")[:-1]) for image in images):
        for number, part in enumerate(parts):
            beside.setdefault(parts[:number], set()).add(part)
    for above, parts_here in beside.items():
        folded = {_folded(part) for part in parts_here}
        drawn = _MASKS | ({"mask", "label", "labels"} if folded & _PHOTOGRAPHS else set())
        for part in sorted(parts_here):
            if _folded(part) in drawn and nfc(part) not in names:
                raise InputError(
                    f"{Path(folder, *above, part)} seems to hold masks or annotations, which are no photographs",
                    "Name the folders of the photographs instead, one by one. " + _otherwise(unlabelled),
                )


def _refuse_parts(folder: Path, tree: dict[str, set[str]], known: Known, unlabelled: bool) -> None:
    nested = any(tree.values())
    exempt = known.class_folders | {nfc(name) for name in known.domains}
    for place, names in ((folder, set(tree)), *((folder / first, below) for first, below in sorted(tree.items()))):
        parts = sorted(name for name in names if name not in exempt and _is_part(name))
        if len(parts) < 2:
            continue
        what = "domains" if nested and place == folder else "classes"
        raise InputError(
            f"{place} holds parts of one data set ({', '.join(parts)}), which are no {what}",
            f"Name the part that is meant, such as {place / parts[0]}. " + _otherwise(unlabelled),
        )


def _is_part(name: str) -> bool:
    """Also `train2017`, `trainA`, `test_images`, `val-set`, `fold 1`."""
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])([A-Z]|set)", r" \1", name).casefold())
    return len({*words} & _PARTS) == 1 and {*words} - _PARTS <= _FILLING


def _folded(name: str) -> str:
    return re.sub(r"[-_ .]", "", name).casefold()


def _otherwise(unlabelled: bool) -> str:
    return "To read them as they are: --layout domain (DIR/class/image), --layout domains (DIR/domain/class/image)" + (
        " or --layout flat." if unlabelled else "."
    )


def _asked(folder: Path, depths: Counter[int], unlabelled: bool, tree: dict[str, set[str]] | None = None) -> InputError:
    where = " and ".join(f"{count} at {_DEPTHS.get(depth, 'DIR/.../image')}" for depth, count in sorted(depths.items()))
    message = f"the nesting of {folder} can be read in more than one way: images {where}"
    if tree is not None and set(depths) == {2}:
        message += f", whose classes may be {_few(tree)}, or {_few(set().union(*tree.values()))} below them"
    return InputError(
        message,
        "Say which with --layout domain (DIR/class/image) or --layout domains (DIR/domain/class/image)"
        + (", or --layout flat to take every image as unlabelled." if unlabelled else "."),
    )


def _few(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:3]) + (", ..." if len(found) > 3 else "")
