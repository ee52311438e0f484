"""Decoded images that are kept, as far as memory allows, because several streams read the same files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from threading import Lock

from gformer_cli.data.labelled import CACHE_BYTES
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.decoding import in_order
from gformer_cli.images.preprocessing import Decoded, Preprocessing, Skipped, read_image


class ImageCache:
    """Reads images ahead in threads; keeps up to `budget` bytes of pixels and decodes the rest again."""

    def __init__(self, preprocessing: Preprocessing, *, workers: int, budget: int = CACHE_BYTES) -> None:
        self.preprocessing = preprocessing
        self.workers = workers
        self.left = budget
        self._kept: dict[str, Decoded | Skipped] = {}
        self._lock = Lock()

    def read(self, files: Iterable[ImageFile]) -> Iterator[Decoded | Skipped]:
        """Every file of `files` in order: its pixels, or the reason why it cannot be used."""
        return in_order(self._one, files, workers=self.workers)

    def _one(self, file: ImageFile) -> Decoded | Skipped:
        key = str(file.path)
        kept = self._kept.get(key)
        if kept is None:
            kept = read_image(file, self.preprocessing)
            size = kept.pixels.nbytes if isinstance(kept, Decoded) else 0
            with self._lock:
                if key not in self._kept and size <= self.left:
                    self.left -= size
                    self._kept[key] = kept
        return kept
