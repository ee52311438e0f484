"""How image files are looked at before training: decoded at once, or their headers alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from gformer_cli.data.inventory import Inventory, Known
from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.images.depth import STANDARD
from gformer_cli.images.headers import check_header
from gformer_cli.images.opening import is_now, status_of
from gformer_cli.images.preprocessing import Preprocessing, Skipped, read_image
from gformer_cli.images.store import PixelStore

EIGHT_BITS = "8 bits"
"""What an inventory says of files whose samples need no levels."""


@dataclass(frozen=True)
class Seen:
    """What was found of a file."""

    known: Known
    pixels: torch.Tensor | None = None


class Look(Protocol):
    """How files are looked at."""

    def within(self, domain: Domain) -> Callable[[ImageFile], Seen | Skipped]:
        """What looks at the files of `domain`."""


@dataclass(frozen=True)
class Pixels:
    """Decodes them."""

    preprocessing: Preprocessing
    store: PixelStore | None

    def within(self, _domain: Domain) -> Callable[[ImageFile], Seen | Skipped]:
        return self._look

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

    def within(self, domain: Domain) -> Callable[[ImageFile], Seen | Skipped]:
        return partial(self._look, domain)

    def _look(self, domain: Domain, file: ImageFile) -> Seen | Skipped:
        known = self.inventory.get(domain.name, domain.root, file)
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
