"""Labelled source images: split, fingerprinted, and decoded when they are needed. What training reads.

A set of images whose pixels fit into `CACHE_BYTES` is decoded once and kept. Of a larger one the headers are read, and
no pixels are kept: memory grows by names and numbers alone.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import torch
from torch.utils.data import Dataset

from gformer_cli.allocator import give_back
from gformer_cli.data.damage import Damage
from gformer_cli.data.inventory import Facts, Inventory, within, write_inventory
from gformer_cli.data.looking import Headers, Look, Pixels
from gformer_cli.data.splitting import split
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles
from gformer_cli.images.decoding import in_order
from gformer_cli.images.headers import hash_file
from gformer_cli.images.opening import is_now
from gformer_cli.images.preprocessing import Preprocessing, Skipped, read_image
from gformer_cli.images.store import PixelStore

CACHE_BYTES = 2 << 30
"""Images whose decoded pixels take more than this together are not kept in memory."""


@dataclass
class LabelledDomain(Dataset[torch.Tensor]):
    """The readable images of one domain, N of them: a data set of their pixels."""

    name: str
    files: ImageFiles
    facts: Facts
    """What each file was like when it was looked at first. Digests may be missing: see `hash_all`."""
    labels: torch.Tensor
    """(N,) indices into the class names."""
    train: Sequence[int]
    validation: Sequence[int]
    """Disjoint positions in `files`; `validation` images are never trained on."""
    preprocessing: Preprocessing
    cached: list[torch.Tensor | None]
    root: Path = field(default_factory=Path)
    strict: bool = False
    """Whether damage that no header shows is an error."""
    damage: Damage = field(default_factory=Damage)
    """What was met of it."""
    store: PixelStore | None = None
    """Where decoded images are kept on disk."""

    @property
    def is_hashed(self) -> bool:
        """Whether every digest is there."""
        return not self.facts.unhashed()

    @property
    def in_memory(self) -> bool:
        """Whether no image needs decoding any more."""
        return all(kept is not None for kept in self.cached)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, position: int) -> torch.Tensor:
        """uint8 (3, S, S); of an image whose damage its header does not show, the next one's that may stand for it.

        That is one of the same class, trained on likewise or held out likewise. Raises `WorkError` where there is
        none, or where the file has changed since it was looked at first.
        """
        kept = self.cached[position]
        if kept is not None:
            return kept
        for other in chain([position], self._likes(position)):
            file = self.files[other]
            if self.damage.knows(str(file.path)):
                continue
            item = read_image(file, self.preprocessing, self.store)
            if not isinstance(item, Skipped):
                return item.pixels
            found = Skipped(str(file.path), item.reason)
            if self.is_changed(other):
                raise WorkError(
                    f"{found.path} was readable at the start and is not now: {found.reason}",
                    "Do not change the source folders during training; run again with --resume.",
                )
            if self.strict:
                raise unreadable([found])
            self.damage.add(found)
        raise WorkError(
            f"every image that could stand for {self.files[position].path} is damaged", "See: gformer data check."
        )

    def pixels(self, positions: Sequence[int]) -> torch.Tensor:
        """uint8 (len(positions), 3, S, S). Raises as `domain[position]` does."""
        return torch.stack([self[position] for position in positions])

    def counts(self, classes: Sequence[str]) -> dict[str, int]:
        """Images per class, by the names that `labels` index."""
        found = torch.bincount(self.labels, minlength=len(classes)).tolist()
        return dict(zip(classes, found, strict=True))

    @cached_property
    def train_by_class(self) -> dict[int, array[int]]:
        """`train` by label."""
        return _by_class(self.labels, self.train)

    @cached_property
    def validation_by_class(self) -> dict[int, array[int]]:
        """`validation` by label."""
        return _by_class(self.labels, self.validation)

    def _likes(self, position: int) -> Sequence[int]:
        """The others of its class on its side of the split, from the one that follows it on."""
        label = int(self.labels[position])
        alike = self.train_by_class.get(label, array("q"))
        if position not in alike:
            alike = self.validation_by_class[label]
        place = alike.index(position)
        return alike[place + 1 :] + alike[:place]

    def is_changed(self, position: int) -> bool:
        """Whether a file is not what it was when it was looked at first."""
        return not is_now(self.files[position], self.facts.status(position))


def load_labelled(
    domains: Sequence[Domain],
    classes: Sequence[str],
    preprocessing: Preprocessing,
    *,
    validation_fraction: float,
    seed: int,
    workers: int,
    strict: bool = False,
    inventory: Inventory | None = None,
    store: PixelStore | None = None,
    advance: Callable[[], None] = lambda: None,
) -> tuple[list[LabelledDomain], list[Skipped]]:
    """The images of `domains`, and what was skipped (paths include the domain's root).

    What fits into memory is decoded. Of the rest headers are read, unless `inventory` knows the file as it is now.
    `store` keeps what is decoded on disk. `advance` is called after each file. Raises `InputError` for an unreadable
    image with `strict`, and for a class of a domain in which no readable image is left.
    """
    index = {name: number for number, name in enumerate(classes)}
    preprocessing = preprocessing.among(domains)
    look: Look = Headers(preprocessing, inventory or Inventory())
    if fits_into_memory(sum(len(domain.files) for domain in domains), preprocessing.image_size):
        look = Pixels(preprocessing, store)
    loaded: list[LabelledDomain] = []
    skipped: list[Skipped] = []
    for domain in domains:
        facts, kept, readable = Facts(), list[torch.Tensor | None](), array("q")
        for position, item in enumerate(look.all_of(domain, workers)):
            advance()
            if isinstance(item, Skipped):
                skipped.append(Skipped(str(domain.files[position].path), item.reason))
                if strict:
                    raise unreadable(skipped)
                continue
            readable.append(position)
            facts.append(item.known)
            kept.append(item.pixels)
        files = domain.files if len(readable) == len(domain.files) else domain.files.at(readable)
        _check_classes(domain, set(files.labels()))
        labels = torch.tensor(array("q", (index[str(label)] for label in files.labels())), dtype=torch.int64)
        own = LabelledDomain(domain.name, files, facts, labels, [], [], preprocessing, kept, domain.root)
        own.strict, own.store = strict, store
        loaded.append(own)
    sides = split([domain.files for domain in loaded], validation_fraction, seed)
    for labelled, (train, validation) in zip(loaded, sides, strict=True):
        labelled.train, labelled.validation = train, validation
    give_back()  # what looking took; processes that are forked off would have it, too
    return loaded, skipped


def fits_into_memory(images: int, size: int) -> bool:
    """Whether so many images of `size` x `size` pixels are kept once they are decoded."""
    return images * 3 * size * size <= CACHE_BYTES


def hash_all(
    domains: Sequence[LabelledDomain], *, workers: int, advance: Callable[[], None] = lambda: None
) -> list[str]:
    """Compute the digests that are missing. Returns the paths of files that are not what they were at first.

    `advance` is called after each file that was read. Raises `WorkError` for one that cannot be read any more.
    """
    changed: list[str] = []
    for domain in domains:
        missing = domain.facts.unhashed()
        files = domain.files.at(missing)
        for position, digest in zip(missing, in_order(_hashed, files, workers=workers), strict=True):
            advance()
            domain.facts.set_digest(position, digest)
            if domain.is_changed(position):
                changed.append(str(domain.files[position].path))
    return changed


def _hashed(file: ImageFile) -> str:
    try:
        return hash_file(file)
    except (OSError, ValueError) as error:
        raise WorkError(
            f"{file.path} was readable at the start and is not now: {error}",
            "Do not change the source folders during training; run again with --resume.",
        ) from None


def write_known(path: Path, domains: Sequence[LabelledDomain]) -> None:
    """Write to the inventory `path` what is known of every file."""
    write_inventory(
        path,
        (
            (domain.name, within(domain.root, file), known)
            for domain in domains
            for file, known in zip(domain.files, domain.facts, strict=True)
        ),
    )


def _by_class(labels: torch.Tensor, positions: Sequence[int]) -> dict[int, array[int]]:
    found: dict[int, array[int]] = {}
    for position in positions:
        found.setdefault(int(labels[position]), array("q")).append(position)
    return found


def fingerprint(domains: Sequence[LabelledDomain]) -> str:
    """SHA-256 over the domain, class, name and content of every image: the names decide the split.

    Every digest must be there: see `hash_all`.
    """
    assert all(domain.is_hashed for domain in domains)
    rows = sorted(
        f"{domain.name}/{file.label}/{file.name}/{known.digest}" + (f"/{file.split}" if file.split else "")
        for domain in domains
        for file, known in zip(domain.files, domain.facts, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode("utf-8", "surrogateescape")).hexdigest()


def unreadable(skipped: Sequence[Skipped]) -> InputError:
    """The error that `--strict` makes of unreadable images."""
    first = skipped[0]
    return InputError(
        f"unreadable image: {first.path} ({first.reason})", "Remove or repair it, or run without --strict."
    )


def _check_classes(domain: Domain, left: Collection[str | None]) -> None:
    for name in domain.classes:
        if name not in left:
            raise InputError(
                f"no readable image of class {name!r} in domain {domain.name!r}: {domain.root / name}",
                "Every image of it is unreadable; see: gformer data check."
                if domain.counts[name]
                else "Add images or remove the empty class folder.",
            )
