"""Images whose damage shows only when they are decoded, noted where every process that trains finds them."""

from __future__ import annotations

import json
from pathlib import Path

from gformer_cli.files import append_json_line, make_folder
from gformer_cli.images.decoding import Skipped


class Damage:
    """The damaged images that were met so far, by their path."""

    def __init__(self, notes: Path | None = None) -> None:
        """`notes` is a file of which processes that know of it add what they meet."""
        self.notes = notes
        self._reasons: dict[str, str] = {}

    def knows(self, path: str) -> bool:
        """Whether this process has met the damage of `path`."""
        return path in self._reasons

    def add(self, found: Skipped) -> None:
        self._reasons[found.path] = found.reason
        if self.notes is not None:
            make_folder(self.notes.parent)
            append_json_line(self.notes, {"path": found.path, "reason": found.reason})

    def all(self) -> list[Skipped]:
        """What all processes have met, each image once, by path."""
        if self.notes is not None and self.notes.is_file():
            for line in self.notes.read_text(encoding="utf-8").splitlines():
                noted = json.loads(line)
                self._reasons.setdefault(noted["path"], noted["reason"])
        return [Skipped(path, reason) for path, reason in sorted(self._reasons.items())]
