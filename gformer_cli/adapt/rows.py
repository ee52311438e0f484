"""Predicted images on disk until all are there: memory does not grow with the probabilities of each."""

from __future__ import annotations

import json
import tempfile
import weakref
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from gformer_cli.errors import WorkError
from gformer_cli.folders.image_files import Texts, in_order_of
from gformer_cli.guard.rule import GENERATED


@dataclass(frozen=True)
class Row:
    """One predicted image."""

    target: str
    path: str
    label: str
    confidence: float
    batch: int
    source_label: str
    probabilities: tuple[float, ...]
    decision: str = GENERATED
    """The guard's, on the batch."""


class Rows:
    """Rows in the order of targets, then names, whatever order they came in. Of each, memory holds position and name.

    Args:
        folder: where a file without a name keeps them; None for the system's folder for such files.
        probabilities: keep them; else each row comes back with none.

    Raises `WorkError` where the disk takes no more.
    """

    def __init__(self, folder: Path | None = None, *, probabilities: bool = True) -> None:
        self.labels: Counter[str] = Counter()
        """Images per predicted class."""
        self.changed = 0
        """Images whose label differs from the source model's."""
        self.keeps = probabilities
        """Whether probabilities are kept."""
        self._place = Path(tempfile.gettempdir()) if folder is None else folder
        self._positions = array("q")
        self._names = Texts()
        self._starts = array("q")
        """Paths and positions of the rows of the present target."""
        self._end = 0
        try:
            self._file = tempfile.TemporaryFile(dir=self._place)  # noqa: SIM115 - it lasts as long as the rows
        except OSError as error:
            raise self._refused(error) from error
        weakref.finalize(self, _close, self._file)

    def add(self, row: Row) -> None:
        """Take in a row of the present target."""
        kept = array("f", row.probabilities if self.keeps else ()).tobytes()  # they come from float32
        told = [row.target, row.path, row.label, row.confidence, row.batch, row.source_label, row.decision, len(kept)]
        content = json.dumps(told).encode() + b"\n" + kept
        try:
            self._file.seek(self._end)
            self._file.write(content)
        except OSError as error:
            raise self._refused(error) from error
        self._names.append(row.path)
        self._starts.append(self._end)
        self._end += len(content)
        self.labels[row.label] += 1
        self.changed += row.label != row.source_label

    def end_target(self) -> None:
        """Put the rows since the last call in the order of their names."""
        self._positions.extend(self._starts[number] for number in in_order_of(self._names))
        self._names, self._starts = Texts(), array("q")
        try:
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def __len__(self) -> int:
        """Those of targets that have ended."""
        return len(self._positions)

    def __iter__(self) -> Iterator[Row]:
        for position in self._positions:
            self._file.seek(position)
            target, path, label, confidence, batch, source_label, decision, size = json.loads(self._file.readline())
            probabilities = array("f", self._file.read(size))
            yield Row(target, path, label, confidence, batch, source_label, tuple(probabilities), decision)

    def _refused(self, error: OSError) -> WorkError:
        return WorkError(f"cannot keep rows in {self._place}: {error.strerror or error}", "Free some space there.")


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # what a full disk has not taken was told already, and nobody will read it
        file.close()
