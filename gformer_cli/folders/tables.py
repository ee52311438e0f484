"""Rows of CSV and Parquet files. No torch here."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gformer_cli.errors import InputError
from gformer_cli.files import open_regular

TABLES = (".csv", ".parquet")
"""Suffixes of such files."""
Row = tuple[str, Mapping[str, str]]
"""Its place, as an error tells it, and its values by column."""
_LIKE_PATHS = frozenset(
    {
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img_path",
        "img_filename",
    }
)
_AT_ONCE = 10_000
"""Rows of a Parquet file that are read together."""


def header_of(path: Path) -> list[str]:
    """The columns of a CSV or Parquet file. Raises `InputError` for a file that is neither."""
    if _is_parquet(path):
        with _parquet(path) as file:
            return list(file.schema_arrow.names)
    with _csv(path) as reader:
        return list(reader.fieldnames or [])


def names_images(path: Path) -> bool:
    """Whether a file seems to be a table of images: by its name, or by a column that is called like a path."""
    if path.suffix.lower() not in TABLES:
        return False
    try:
        columns = {name.strip().lower() for name in header_of(path) if name}
    except InputError:
        columns = set()
    return "metadata" in path.stem.lower() or not columns.isdisjoint(_LIKE_PATHS)


def check_column(path: Path, column: str, header: Sequence[str], hint: str) -> None:
    """Raises `InputError` for a column that is not in the header."""
    if column not in header:
        raise InputError(f"{path} has no column {column!r}; it has: {', '.join(filter(None, header)) or 'none'}", hint)


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The rows of a CSV or Parquet file; of Parquet, those of `columns` that are there are read.

    Raises `InputError` for what is wrong in it.
    """
    return _parquet_rows(path, columns) if _is_parquet(path) else _csv_rows(path)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


@contextmanager
def _csv(path: Path) -> Iterator[csv.DictReader[str]]:
    try:
        with io.TextIOWrapper(io.FileIO(open_regular(path)), "utf-8-sig", newline="") as file:
            yield csv.DictReader(file, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}", "It must be CSV in UTF-8.") from None


def _csv_rows(path: Path) -> Iterator[Row]:
    with _csv(path) as reader:
        for row in reader:
            place = f"{path}, row {reader.line_num}"
            if None in row or None in row.values():
                raise InputError(f"{place} has not as many values as the header", "Quote values that hold commas.")
            yield place, row


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise InputError(f"{path} needs pyarrow", "Install it: pip install 'gformer[parquet]'") from None
    try:
        with ParquetFile(path) as file:
            yield file
    except (OSError, ArrowException) as error:
        raise InputError(f"cannot read {path}: {str(error).splitlines()[0]}", "It must be Parquet.") from None


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    with _parquet(path) as file:
        there = [name for name in columns if name in file.schema_arrow.names]
        number = 0
        for batch in file.iter_batches(_AT_ONCE, columns=there):
            for row in batch.to_pylist():
                number += 1
                texts = {name: "" if value is None else str(value) for name, value in row.items()}
                yield f"{path}, row {number}", texts
