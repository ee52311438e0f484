"""A table of image files in the place of folders: CSV or Parquet with the columns path, class, domain and split.

A path is taken from the folder that the table lies in. No torch here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.files import open_regular
from gformer_cli.folders.gathering import Gathering, Named
from gformer_cli.folders.image_files import Aside, ImageFile
from gformer_cli.folders.sniffing import kind_of

TABLES = (".csv", ".parquet")
"""Suffixes of tables of images."""
COLUMNS = ("path", "class", "domain", "split")
_AT_ONCE = 10_000
"""Rows of a Parquet file that are read together."""


def read_table(path: Path, gathering: Gathering) -> None:
    """Add the images that the table `path` names. Raises `InputError`, with the row, for what is wrong in it."""
    rows = read_rows(path, COLUMNS)
    seen: dict[str, str] = {}
    for place, row in rows:
        name = row["path"]
        if not name:
            raise InputError(f"{place}: the path is empty", "Remove the row, or name the image.")
        if name in seen:
            raise InputError(f"{place}: {name} was named before, in {seen[name]}", "Name each image once.")
        seen[name] = place.rsplit(", ", 1)[-1]
        file = path.parent / name
        if not file.exists():
            raise InputError(
                f"{place}: no such file: {file}", f"Paths are taken from the folder {path.parent.resolve()}"
            )
        kind = kind_of(file)
        if not kind.is_read:
            gathering.aside.append(Aside(file, kind.unread))
            continue
        told = [row.get(column, "") for column in ("class", "domain", "split")]
        gathering.add(Named(place, ImageFile(path.parent, name), *told))


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The rows of a CSV or Parquet file, each with its place; of `columns`, the first must be there.

    Raises `InputError` for what is wrong in it.
    """
    return _parquet(path, columns) if path.suffix.lower() == ".parquet" else _csv(path, columns)


def _csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        with io.TextIOWrapper(io.FileIO(open_regular(path)), "utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames or [], columns)
            for row in reader:
                place = f"{path}, row {reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(f"{place} has not as many values as the header", "Quote values that hold commas.")
                yield place, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}", "It must be CSV in UTF-8.") from None


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, str]]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(f"{path} needs pyarrow", "Install it: pip install 'gformer[parquet]'") from None
    try:
        with ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            columns = [name for name in columns if name in file.schema_arrow.names]
            number = 0
            for batch in file.iter_batches(_AT_ONCE, columns=columns):
                for row in batch.to_pylist():
                    number += 1
                    texts = {name: "" if value is None else str(value) for name, value in row.items()}
                    yield f"{path}, row {number}", texts
    except (OSError, ArrowException) as error:
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}", "It must be Parquet.") from None


def _check_columns(path: Path, found: Sequence[str], columns: Sequence[str]) -> None:
    if columns[0] not in found:
        raise InputError(
            f"{path} has no column {columns[0]!r}; it has: {', '.join(found) or 'none'}",
            f"Columns that are read: {', '.join(columns)}.",
        )
