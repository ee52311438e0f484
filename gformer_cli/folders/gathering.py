"""Images that are named one by one, in a table, a list or shards, gathered into domains."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.folders.image_files import Aside, Domain, ImageFile, ImageFiles
from gformer_cli.folders.nesting import Known, known_name

TRAIN, VALIDATION, TEST = "train", "validation", "test"
OTHER = "other"
"""Of a split that is neither learnt from nor tested on unless it is chosen."""
_SPLITS = {TRAIN: TRAIN, VALIDATION: VALIDATION, "val": VALIDATION, TEST: TEST, OTHER: OTHER, "": ""}
"""By how they may be written."""


@dataclass(frozen=True)
class Named:
    """An image as it is named somewhere; what is not said of it is empty."""

    place: str
    """Where, as an error tells it."""
    file: ImageFile
    label: str
    domain: str
    split: str


@dataclass
class Gathering:
    """What is named in `origin`, below `root`.

    Of images that are of a split those of `splits` are taken, or all where that is empty; those of no split always.
    """

    origin: str
    root: Path
    default: str
    """The domain of images that name none."""
    known: Known
    splits: Collection[str]
    unlabelled: bool
    left_out: int = 0
    """Images of other splits."""
    files: dict[str, list[ImageFile]] = field(default_factory=dict)
    """By domain."""
    aside: list[Aside] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)
    """Files that are named and not there, where that is no error."""
    _labels: dict[str, str] = field(default_factory=dict)

    def add(self, named: Named) -> None:
        """Raises `InputError` for a name or a split that is none, and for no class where labels are wanted."""
        split = _SPLITS.get(named.split.strip().lower())
        if split is None:
            raise InputError(
                f"{named.place}: unknown split {named.split!r}",
                f"It is {TRAIN}, {VALIDATION}, {TEST}, or empty. To choose rows by what it says: "
                f"{self.origin.partition(':')[0]}:split=={named.split}",
            )
        if split and self.splits and split not in self.splits:
            self.left_out += 1
            return
        if not named.label and not self.unlabelled:
            raise InputError(f"{named.place}: no class is named", "Labels are needed here: fill in the class.")
        for what, name in (("domain", named.domain), ("class", named.label)):
            if name in (".", ".."):
                raise InputError(f"{named.place}: {name!r} cannot be the name of a {what}", "Call it otherwise.")
        label = self._label(named.label) if named.label else None
        domain = known_name(named.domain or self.default, self.known.domains)
        self.files.setdefault(domain, []).append(named.file._replace(label=label, split=split))

    def domains(self) -> list[Domain]:
        """The domains by name, their images in the order of their paths. Raises `InputError` for no image."""
        if not self.files:
            raise self._empty()
        found = []
        for name, files in sorted(self.files.items()):
            classes = {str(file.label) for file in files if file.label is not None}
            ordered = ImageFiles(sorted(files, key=lambda file: file.relative))
            found.append(Domain(name, self.root, ordered, tuple(sorted(classes))))
        return found

    def _empty(self) -> InputError:
        if self.left_out:
            wanted = " or ".join(self.splits)
            return InputError(
                f"no images in {self.origin} of the split {wanted}",
                "Leave the split empty where images are for everything.",
            )
        more = f": {self.aside[0].path} is none" if self.aside else ""
        return InputError(f"no images in {self.origin}{more}", "Check what it names.")

    def _label(self, text: str) -> str:
        if text not in self._labels:  # looked up once for the many images of a class
            self._labels[text] = self.known.class_of(text)
        return self._labels[text]
