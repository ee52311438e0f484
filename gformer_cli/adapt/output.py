"""The predictions file: one row per image, as CSV or JSON lines."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from gformer_cli.adapt.appending import held
from gformer_cli.adapt.rows import Row
from gformer_cli.errors import InputError
from gformer_cli.files import atomic_path, check_appendable, check_writable, json_line, make_folder

FORMATS = (".csv", ".jsonl")
_NAMES = "backslashreplace"
"""A file name that is not UTF-8 is written with escapes (which JSON reads back), not refused."""


def check_output(out: Path, *, overwrite: bool, continued: bool = False) -> None:
    """Raises `InputError` for an unknown suffix, an existing file without `overwrite` (or `continued`, which adds to
    it), one that another process writes to, and where nothing can be written; `WorkError` for a full disk."""
    if out.suffix not in FORMATS:
        raise InputError(f"cannot tell the format of {out}", f"Name it with one of the suffixes {', '.join(FORMATS)}.")
    if out.is_dir():
        raise InputError(f"{out} is a folder, not a file", "Name a file, such as predictions.csv.")
    if continued:
        check_appendable(out)
        return
    if out.exists() and not overwrite:
        raise InputError(f"output file exists: {out}", "Replace it with --overwrite, or name another --out.")
    check_writable(out)
    with held(out):
        pass


@contextmanager
def reserved(out: Path | None) -> Iterator[bool]:
    """Within the block nobody else writes to the predictions file. Whether that is sure: there was a file to hold, or
    none is written (None). Its folder is made."""
    if out is None:
        yield True
        return
    make_folder(out.parent)
    with held(out) as ours:
        yield ours


def write_rows(
    out: Path, rows: Iterable[Row], classes: Sequence[str], *, probabilities: bool, name_targets: bool
) -> None:
    """CSV or JSON lines by suffix, atomically.

    Columns: path, label, confidence, batch, source_label, decision; with `name_targets` the target; with
    `probabilities` one per class (`probability:CLASS`; in JSON lines one object).
    """
    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            with temporary.open("w", newline="", encoding="utf-8", errors=_NAMES) as file:
                write_csv(file, rows, classes, probabilities=probabilities, name_targets=name_targets)
        else:
            with temporary.open("w", encoding="utf-8") as file:
                for row in rows:
                    record = record_of(row, name_target=name_targets)
                    if probabilities:
                        record["probabilities"] = {
                            name: round(value, 6) for name, value in zip(classes, row.probabilities, strict=True)
                        }
                    file.write(json_line(record))


def write_csv(
    file: TextIO, rows: Iterable[Row], classes: Sequence[str], *, probabilities: bool, name_targets: bool
) -> None:
    """The rows as CSV; see `write_rows`."""
    writer = csv.writer(file)
    extra = [f"probability:{name}" for name in classes] if probabilities else []
    for number, row in enumerate(rows):
        record = record_of(row, name_target=name_targets)
        if number == 0:
            writer.writerow([*record, *extra])
        values = [f"{value:.6f}" for value in row.probabilities] if probabilities else []
        writer.writerow([*record.values(), *values])


def record_of(row: Row, *, name_target: bool) -> dict[str, Any]:
    """The columns of one row, by name, without its probabilities."""
    record: dict[str, Any] = {
        "path": row.path,
        "label": row.label,
        "confidence": round(row.confidence, 6),
        "batch": row.batch,
        "source_label": row.source_label,
        "decision": row.decision,
    }
    return record | {"target": row.target} if name_target else record
