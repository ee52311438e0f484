"""Images that are named one by one, in the place of a folder: a table of them, or a pattern of shards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.folders.gathering import Gathering
from gformer_cli.folders.nesting import Known
from gformer_cli.folders.shards import SHARDS, name_of, read_shards
from gformer_cli.folders.tables import TABLES, read_table


def is_named_one_by_one(path: Path) -> bool:
    """Whether `path` is no folder of images, but by its name a table of them or a pattern of shards."""
    return path.suffix.lower() in (*TABLES, *SHARDS) and not path.is_dir()


def check_named(path: Path, before: Sequence[Path]) -> None:
    if path.suffix.lower() in TABLES and not path.exists():
        raise InputError(f"no such file: {path}", "Check the path; it must be a table of images.")
    if path in before:
        raise InputError(f"{path} is given twice", "Leave out one of the two.")


def gather(path: Path, known: Known, splits: Collection[str], *, unlabelled: bool) -> Gathering:
    """What the table or the shards `path` name. Raises `InputError` for what is wrong there."""
    is_table = path.suffix.lower() in TABLES
    default = path.stem if is_table else name_of(path)
    gathering = Gathering(str(path), path.parent, default, known, splits, unlabelled)
    (read_table if is_table else read_shards)(path, gathering)
    return gathering
