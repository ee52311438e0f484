"""Which images a run is trained on, recorded when it begins and compared ever after.

Models must not be tested on what they were trained on, nor be half of one data set and half of another.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gformer_cli.data.labelled import LabelledDomain, fingerprint
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain

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
    """Of all of them."""
    domains: dict[str, dict[str, ClassImages]]

    @classmethod
    def of(cls, loaded: Sequence[LabelledDomain]) -> SourceImages:
        return cls(fingerprint(loaded), {domain.name: _classes(domain) for domain in loaded})

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
        if now.fingerprint != self.fingerprint:
            changed = [
                f"{name}/{label} ({before.images} images before, {now.domains[name][label].images} now)"
                for name, classes in self.domains.items()
                for label, before in classes.items()
                if _differ(before, now.domains[name][label])
            ]
            raise _changed(f"changed images in {_list(changed)}" if changed else "their contents differ", hint)

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
    for file, digest in zip(domain.files, domain.digests, strict=True):
        rows.setdefault(str(file.label), []).append(f"{file.path.name}/{digest}")
    return {label: ClassImages(len(files), _digest(files)) for label, files in sorted(rows.items())}


def _digest(rows: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(sorted(rows)).encode("utf-8", "surrogateescape")).hexdigest()


def _differ(before: ClassImages, now: ClassImages) -> bool:
    return before.images != now.images or (before.digest is not None and before.digest != now.digest)


def _names(names: Iterable[str]) -> set[str]:
    return {unicodedata.normalize("NFC", name) for name in names}  # one name in two spellings is no change


def _paths(domains: Mapping[str, Iterable[str]], other: Mapping[str, object]) -> set[str]:
    """`domain/class` of the domains that both have: of one that came or went, its name says it all."""
    return _names(f"{name}/{label}" for name in domains if name in other for label in domains[name])


def _list(items: Sequence[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
