"""How a folder is watched. No torch here: these are the first things that the command looks at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gformer_cli.errors import InputError


@dataclass(frozen=True)
class WatchOptions:
    """How a folder is watched. Times in seconds."""

    folder: Path
    out: Path
    batch_size: int = 64
    max_wait: float = 10.0
    """A smaller batch is predicted when one of its images has waited so long."""
    settle: float = 1.0
    """A file is complete when it has not changed for so long."""
    until_idle: float | None = None
    """Predict what is there and end when nothing has come for so long; None goes on for ever."""
    move_to: Path | None = None
    """Where predicted images go; None leaves them."""
    context: int = 0
    """Pool the statistics of so many batches of the same domain."""
    probabilities: bool = False
    strict: bool = False

    def check_folders(self) -> None:
        """Raises `InputError` where no images can arrive, and where those that are moved would arrive again."""
        if not self.folder.is_dir():
            what = "not a folder" if self.folder.exists() else "no such folder"
            raise InputError(f"{what}: {self.folder}", "Give the folder in which images arrive; it may be empty.")
        if self.move_to is None:
            return
        inside, outside = self.move_to.resolve(), self.folder.resolve()
        if inside.is_relative_to(outside) or outside.is_relative_to(inside):
            raise InputError(
                f"--move-to {self.move_to} and the watched folder {self.folder} lie within each other",
                "Predicted images would be found again: name a folder beside it.",
            )
