"""Labelled source images, decoded, split and fingerprinted: what training reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Domain, ImageFile, nfc
from gformer_cli.images.preprocessing import Decoded, Preprocessing, Skipped, read_image, read_images
from gformer_cli.seeding import derive_seed

CACHE_BYTES = 2 << 30
"""Decoded images are kept up to this size; beyond it they are decoded again when they are needed."""


@dataclass
class LabelledDomain:
    """The readable images of one domain, N of them."""

    name: str
    files: list[ImageFile]
    labels: torch.Tensor
    """(N,) indices into the class names."""
    digests: list[str]
    train: list[int]
    validation: list[int]
    """Disjoint positions in `files`; `validation` images are never trained on."""
    preprocessing: Preprocessing
    cached: list[torch.Tensor | None]

    def pixels(self, positions: Sequence[int]) -> torch.Tensor:
        """uint8 (len(positions), 3, S, S). Raises `WorkError` for a file that has become unreadable."""
        return torch.stack([self._one(position) for position in positions])

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Images per class, by the names that `labels` index."""
        return {name: int((self.labels == number).sum()) for number, name in enumerate(classes)}

    def _one(self, position: int) -> torch.Tensor:
        kept = self.cached[position]
        if kept is not None:
            return kept
        item = read_image(self.files[position], self.preprocessing)
        if isinstance(item, Skipped):
            raise WorkError(
                f"{self.files[position].path} was readable at the start and is not now: {item.reason}",
                "Do not change the source folders during training; run again with --resume.",
            )
        return item.pixels


def load_labelled(
    domains: Sequence[Domain],
    classes: Sequence[str],
    preprocessing: Preprocessing,
    *,
    validation_fraction: float,
    seed: int,
    workers: int,
    strict: bool = False,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[LabelledDomain], list[Skipped]]:
    """Decode every image of `domains` once. Returns them and what was skipped (paths include the domain's root).

    `advance` is called after each file. Raises `InputError` for an unreadable image with `strict`, and for a
    class of a domain in which no readable image is left.
    """
    index = {name: number for number, name in enumerate(classes)}
    preprocessing = preprocessing.among(domains)
    budget = CACHE_BYTES
    loaded: list[LabelledDomain] = []
    skipped: list[Skipped] = []
    for domain in domains:
        files: list[ImageFile] = []
        digests: list[str] = []
        cached: list[torch.Tensor | None] = []
        for file, item in zip(domain.files, read_images(domain.files, preprocessing, workers=workers), strict=True):
            advance()
            if isinstance(item, Skipped):
                skipped.append(Skipped(str(file.path), item.reason))
                if strict:
                    raise unreadable(skipped)
                continue
            assert isinstance(item, Decoded)
            budget -= item.pixels.nbytes
            files.append(file)
            digests.append(item.digest)
            cached.append(item.pixels if budget >= 0 else None)
        _check_classes(domain, files)
        labels = torch.tensor([index[str(file.label)] for file in files])
        loaded.append(LabelledDomain(domain.name, files, labels, digests, [], [], preprocessing, cached))
    sides = split([domain.files for domain in loaded], validation_fraction, seed)
    for labelled, (train, validation) in zip(loaded, sides, strict=True):
        labelled.train, labelled.validation = train, validation
    return loaded, skipped


def split(domains: Sequence[Sequence[ImageFile]], fraction: float, seed: int) -> list[tuple[list[int], list[int]]]:
    """Per domain the positions for training and for validation: `fraction` of each class, by hashed file name.

    The same class and file name goes the same way in every domain, so that one object photographed under
    several conditions is never on both sides; that comes before the exact share. Small groups choose first.
    A class of a single image is trained on.
    """
    groups: dict[tuple[int, str], set[str]] = {}
    for number, files in enumerate(domains):
        for file in files:
            groups.setdefault((number, str(file.label)), set()).add(nfc(file.path.name))
    held: dict[tuple[str, str], bool] = {}
    for (_, label), names in sorted(groups.items(), key=lambda item: (len(item[1]), item[0])):
        wanted = max(0, min(max(1, round(len(names) * fraction)), len(names) - 1))
        wanted -= sum(held.get((label, name), False) for name in names)
        for name in sorted(
            names - {name for own, name in held if own == label}, key=lambda n: derive_seed(seed, label, n)
        ):
            held[label, name] = wanted > 0
            wanted -= 1
    sides: list[tuple[list[int], list[int]]] = []
    for files in domains:
        validation = [i for i, file in enumerate(files) if held[str(file.label), nfc(file.path.name)]]
        train = [i for i, file in enumerate(files) if not held[str(file.label), nfc(file.path.name)]]
        sides.append((train, validation))
    return sides


def fingerprint(domains: Sequence[LabelledDomain]) -> str:
    """SHA-256 over the domain, class, name and content of every image: the names decide the split."""
    rows = sorted(
        f"{domain.name}/{file.label}/{file.path.name}/{digest}"
        for domain in domains
        for file, digest in zip(domain.files, domain.digests, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def unreadable(skipped: Sequence[Skipped]) -> InputError:
    """The error that `--strict` makes of unreadable images."""
    first = skipped[0]
    return InputError(
        f"unreadable image: {first.path} ({first.reason})", "Remove or repair it, or run without --strict."
    )


def _check_classes(domain: Domain, files: Sequence[ImageFile]) -> None:
    left = {file.label for file in files}
    for name in domain.classes:
        if name not in left:
            raise InputError(
                f"no readable image of class {name!r} in domain {domain.name!r}: {domain.root / name}",
                "Every image of it is unreadable; see: gformer data check."
                if domain.counts[name]
                else "Add images or remove the empty class folder.",
            )
