"""Which images a run is trained on, recorded when it begins and compared ever after.

Models must not be tested on what they were trained on, nor be half of one data set and half of another.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gformer_cli.data.inventory import Inventory
from gformer_cli.data.labelled import LabelledDomain, fingerprint
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain
from gformer_cli.images.headers import hash_file

_SHOWN = 3
"""Changes that an error names."""


@dataclass(frozen=True)
class ClassImages:
    """The readable images of one class of one domain."""

    images: int
    digest: str | None = None
    """SHA-256 over their names and contents; None where only their number was recorded."""


@dataclass(frozen=True)
class SourceImages:
    """The readable images of every class of every domain."""

    fingerprint: str
    """Of all of them; empty as long as not all were read."""
    domains: dict[str, dict[str, ClassImages]]

    @classmethod
    def of(cls, loaded: Sequence[LabelledDomain]) -> SourceImages:
        if all(domain.is_hashed for domain in loaded):
            return cls(fingerprint(loaded), {domain.name: _classes(domain) for domain in loaded})
        counts = {domain.name: Counter(map(str, domain.files.labels())) for domain in loaded}
        return cls.of_counts("", {name: dict(sorted(labels.items())) for name, labels in counts.items()})

    @classmethod
    def of_counts(cls, fingerprint: str, domains: Mapping[str, Mapping[str, int]]) -> SourceImages:
        """From their numbers alone; a class of none is a class that the domain does not have."""
        counted = {
            name: {label: ClassImages(count) for label, count in counts.items() if count}
            for name, counts in domains.items()
        }
        return cls(fingerprint, counted)

    def require_folders(self, domains: Sequence[Domain], hint: str) -> None:
        """Raises `InputError` for domain or class folders that came, went or were renamed; no image is read."""
        self._require({domain.name: dict.fromkeys(domain.classes) for domain in domains}, hint)

    def require(self, now: SourceImages, hint: str) -> None:
        """Raises `InputError`, which ends with `hint`, for other images, other contents and other names."""
        self._require(now.domains, hint)
        known = bool(self.fingerprint and now.fingerprint)
        changed = [
            f"{name}/{label} ({before.images} images before, {now.domains[name][label].images} now)"
            for name, classes in self.domains.items()
            for label, before in classes.items()
            if _differ(before, now.domains[name][label])
        ]
        if now.fingerprint != self.fingerprint if known else changed:
            raise _changed(f"changed images in {_list(changed)}" if changed else "their contents differ", hint)

    @staticmethod
    def require_files(before: Inventory, loaded: Sequence[LabelledDomain], hint: str) -> None:
        """Raises `InputError`, which ends with `hint`, for files that are not what `before` knows of them.

        A file that is of the same size and time is taken for the same; of another, its content decides, if it is known.
        """
        changed: list[str] = []
        for domain in loaded:
            matched = before.match(domain.name, domain.root, domain.files)
            for file, known, now in zip(domain.files, matched, domain.facts, strict=True):
                if known is None or (
                    known.status != now.status and (known.digest is None or hash_file(file) != known.digest)
                ):
                    changed.append(str(file.path))
        if changed:
            raise _changed(f"changed images: {_list(changed)}", hint)

    def _require(self, now: Mapping[str, Mapping[str, object]], hint: str) -> None:
        changes: list[str] = []
        for what, before, after in [
            ("domain", _names(self.domains), _names(now)),
            ("class folder", _paths(self.domains, now), _paths(now, self.domains)),
        ]:
            changes += [f"{what} gone: {name}" for name in sorted(before - after)]
            changes += [f"{what} new: {name}" for name in sorted(after - before)]
        if changes:
            raise _changed(_list(changes), hint)


def _changed(what: str, hint: str) -> InputError:
    return InputError(f"the source images are not those that the run was started with: {what}", hint)


def _classes(domain: LabelledDomain) -> dict[str, ClassImages]:
    rows: dict[str, list[str]] = {}
    for file, known in zip(domain.files, domain.facts, strict=True):
        rows.setdefault(str(file.label), []).append(f"{file.name}/{known.digest}")
    return {label: ClassImages(len(files), _digest(files)) for label, files in sorted(rows.items())}


def _digest(rows: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(rows)).encode("utf-8", "surrogateescape")).hexdigest()


def _differ(before: ClassImages, now: ClassImages) -> bool:
    known = before.digest is not None and now.digest is not None
    return before.images != now.images or (known and before.digest != now.digest)


def _names(names: Iterable[str]) -> set[str]:
    return {unicodedata.normalize("NFC", name) for name in names}  # one name in two spellings is no change


def _paths(domains: Mapping[str, Iterable[str]], other: Mapping[str, object]) -> set[str]:
    """`domain/class` of the domains that both have: of one that came or went, its name says it all."""
    return _names(f"{name}/{label}" for name in domains if name in other for label in domains[name])


def _list(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
