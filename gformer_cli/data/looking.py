"""How image files are looked at before training: decoded at once, or their headers alone."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from gformer_cli.data.inventory import Inventory, Known
from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.images.decoding import in_order
from gformer_cli.images.depth import STANDARD
from gformer_cli.images.headers import check_header
from gformer_cli.images.opening import is_now, status_of
from gformer_cli.images.preprocessing import Preprocessing, Skipped, read_image
from gformer_cli.images.store import PixelStore

_TOGETHER = 64
"""Files that a thread looks at before the next one has its turn: passing them on would take as long as looking."""
EIGHT_BITS = "8 bits"
"""What an inventory says of files whose samples need no levels."""


class Seen(NamedTuple):
    """What was found of a file."""

    known: Known
    pixels: torch.Tensor | None = None


class Look(Protocol):
    """How files are looked at."""

    def all_of(self, domain: Domain, workers: int) -> Iterator[Seen | Skipped]:
        """What is found of each file of `domain`, in order."""


@dataclass(frozen=True)
class Pixels:
    """Decodes them."""

    preprocessing: Preprocessing
    store: PixelStore | None

    def all_of(self, domain: Domain, workers: int) -> Iterator[Seen | Skipped]:
        return in_order(self._look, domain.files, workers=workers)

    def _look(self, file: ImageFile) -> Seen | Skipped:
        try:
            status = status_of(file)
        except OSError as error:
            return Skipped(file.relative, error.strerror or str(error))
        item = read_image(file, self.preprocessing, self.store)
        return item if isinstance(item, Skipped) else Seen(Known(status, digest=item.digest), item.pixels)


@dataclass(frozen=True)
class Headers:
    """Reads the headers of those that are not known already."""

    preprocessing: Preprocessing
    inventory: Inventory

    def all_of(self, domain: Domain, workers: int) -> Iterator[Seen | Skipped]:
        matched = zip(domain.files, self.inventory.match(domain.name, domain.root, domain.files), strict=True)
        together = iter(lambda: list(itertools.islice(matched, _TOGETHER)), [])
        return itertools.chain.from_iterable(in_order(self._look_at, together, workers=workers))

    def _look_at(self, files: Sequence[tuple[ImageFile, Known | None]]) -> list[Seen | Skipped]:
        return [self._look(file, known) for file, known in files]

    def _look(self, file: ImageFile, known: Known | None) -> Seen | Skipped:
        if known is not None and not is_now(file, known.status):  # gone: told when it is opened
            known = None
        if known is None or not known.samples:
            header = check_header(file)
            if isinstance(header, Skipped):
                return header
            known = Known(header.status, header.deep or EIGHT_BITS, known.digest if known is not None else None)
        for kind in STANDARD:
            if known.samples == kind:  # what is white in this folder is found now, for every process that decodes
                self.preprocessing.depth.of(file.path, kind)
        return Seen(known)
