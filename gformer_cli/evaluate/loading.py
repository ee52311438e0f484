"""The images of a stream, as the network takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from gformer_cli.bundle import Described
from gformer_cli.data.cache import ImageCache
from gformer_cli.data.catalogue import CATALOGUE
from gformer_cli.data.inventory import within
from gformer_cli.data.labelled import unreadable
from gformer_cli.data.streams import Condition, StreamBatch
from gformer_cli.folders.domains import Domain, ImageFile
from gformer_cli.images.preprocessing import Decoded, Skipped


@dataclass(frozen=True)
class Loaded:
    """The readable images of a batch: pixels (B, 3, S, S) as the network takes them, labels (B,), whose they are.

    B may be 0.
    """

    inputs: torch.Tensor
    labels: torch.Tensor
    targets: list[str]
    contents: list[tuple[str, Condition | None]]
    """What tells each image from any other: the hash of its file, and what was done to it."""
    files: list[ImageFile]
    skipped: list[Skipped]


class Loader:
    """Reads batches of `domains`; images are decoded once, as far as memory allows."""

    def __init__(
        self, bundle: Described, domains: Sequence[Domain], *, device: torch.device, workers: int, strict: bool
    ) -> None:
        bundle.look_into(domains)
        self.depth = bundle.depth
        self.preprocessing = bundle.preprocessing
        self.index = {name: number for number, name in enumerate(bundle.header.classes)}
        self._owners: dict[Path, Domain] = {}
        for domain in domains:
            for file in domain.files:
                self._owners.setdefault(file.path, domain)
        self.device = device
        self.strict = strict
        self.images = ImageCache(bundle.preprocessing, workers=workers)

    def read(self, batches: Iterable[StreamBatch]) -> Iterator[Loaded]:
        """Every batch in order. Raises `InputError` for an unreadable image when `strict`."""
        batches = list(batches)
        reads = self.images.read(item.file for batch in batches for item in batch.items)
        for batch in batches:
            yield self._load(batch, list(islice(reads, len(batch.items))))

    def _load(self, batch: StreamBatch, reads: Sequence[Decoded | Skipped]) -> Loaded:
        both = list(zip(batch.items, reads, strict=True))
        skipped = [Skipped(self.place(i.file), read.reason) for i, read in both if isinstance(read, Skipped)]
        if skipped and self.strict:
            raise unreadable(skipped)
        kept = [(item, read) for item, read in both if isinstance(read, Decoded)]
        labels = torch.tensor([self.index[str(item.file.label)] for item, _ in kept], dtype=torch.int64)
        inputs = self._inputs([read for _, read in kept], batch.condition) if kept else torch.empty(0)
        contents = [(read.digest, batch.condition) for _, read in kept]
        return Loaded(
            inputs, labels, [item.target for item, _ in kept], contents, [item.file for item, _ in kept], skipped
        )

    def _inputs(self, images: Sequence[Decoded], condition: Condition | None) -> torch.Tensor:
        pixels = torch.stack([image.pixels for image in images])  # uint8 (B, 3, S, S)
        if condition is None:
            return self.preprocessing.network_input(pixels, self.device)
        changed = CATALOGUE[condition.corruption](
            pixels.to(self.device).float() / 255.0,
            severity=condition.severity,
            seed=condition.seed,
            # its content tells an image's noise from another's: neither its batch nor its label matters
            positions=[int(image.digest[:8], 16) for image in images],
        )
        return self.preprocessing.normalise(changed)

    def place(self, file: ImageFile) -> str:
        """Domain and path inside it: results name no place on this machine."""
        owner = self._owners[file.path]
        return f"{owner.name}/{within(owner.root, file)}"
