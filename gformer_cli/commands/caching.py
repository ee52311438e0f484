"""The options of a cache of decoded images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.errors import InputError

if TYPE_CHECKING:
    from gformer_cli.images.store import PixelStore

DEFAULT_SIZE = 20.0
"""GB."""

Folder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        envvar="GFORMER_CACHE",
        help="Keep decoded and resized images in this folder, so that no file is decoded twice. Several commands may "
        "share it.",
        show_default=False,
        show_envvar=True,
    ),
]
Size = Annotated[
    float | None,
    typer.Option(
        "--cache-size",
        metavar="GB",
        envvar="GFORMER_CACHE_SIZE",
        min=0.001,
        max=1e6,
        help=f"Most that --cache takes. Default: {DEFAULT_SIZE:g}.",
        show_default=False,
        show_envvar=True,
    ),
]


@dataclass(frozen=True)
class Cache:
    """What was asked for."""

    folder: Path | None
    size: float | None

    def __post_init__(self) -> None:
        if self.folder is None and self.size is not None:
            raise InputError("--cache-size has no effect without --cache", "Name a folder: --cache DIR")
        if self.folder is not None and self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--cache {self.folder} is a file, not a folder", "Name a folder.")

    def open(self) -> PixelStore | None:
        """The store, whose folder is made; None where none is wanted. Raises `InputError` where there can be none."""
        from gformer_cli.images.store import PixelStore

        if self.folder is None:
            return None
        return PixelStore(self.folder, round((DEFAULT_SIZE if self.size is None else self.size) * 1e9))
