"""What is done, on the disk: the predictions of a watched folder, and the files that were skipped.

The predictions file is the only truth about which images are predicted. A batch is added in one piece and counts when
it is whole: each of its rows holds how many there are. A process that is killed while it writes leaves a part of a
batch at the end at most, which the next start cuts off.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from gformer_cli.adapt.appending import AppendFile
from gformer_cli.adapt.output import record_of
from gformer_cli.adapt.rows import Row
from gformer_cli.errors import InputError
from gformer_cli.files import BOMS, MIB, decoded, json_line

_NUMBERS = ("batch", "batch_size", "bytes", "modified_ns")
_LONGEST = 64 * MIB
"""Bytes of a line."""


class Stamp(NamedTuple):
    """What tells two images of one name apart without reading them."""

    size: int
    """Bytes."""
    modified_ns: int


def key_of(relative: str, stamp: Stamp) -> bytes:
    """16 bytes that stand for one image, so that remembering many takes little."""
    name = relative.encode("utf-8", "backslashreplace")
    return blake2b(b"%s\0%d\0%d" % (name, *stamp), digest_size=16).digest()


class Ledger:
    """The predictions file of a watched folder (.csv or .jsonl); one that is there is continued.

    Columns: those of `write_rows` with targets, then `batch_size` (rows of this batch), `bytes` and `modified_ns` of
    the image. Raises `InputError` for a file that was not written so, and `WorkError` where writing is refused.
    """

    def __init__(self, out: Path, classes: Sequence[str], *, probabilities: bool) -> None:
        self.out = out
        self.classes = classes
        self.probabilities = probabilities
        self._csv = out.suffix == ".csv"
        self.done: set[bytes] = set()
        """Keys of the images that are predicted."""
        self.images = 0
        """Rows that were there already."""
        self.next_batch = 0
        self._file = AppendFile(out)
        try:
            self.cut = self._recover()
            """Bytes of an unfinished batch that were cut off."""
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def append(self, rows: Sequence[Row], stamps: Sequence[Stamp]) -> None:
        """Add one batch; it is on the disk when this returns."""
        records = [self._record(row, len(rows), stamp, flat=self._csv) for row, stamp in zip(rows, stamps, strict=True)]
        text = _csv([record.values() for record in records]) if self._csv else "".join(map(json_line, records))
        self._file.append(text)
        self.done.update(key_of(row.path, stamp) for row, stamp in zip(rows, stamps, strict=True))

    def _record(self, row: Row, count: int, stamp: Stamp, *, flat: bool) -> dict[str, Any]:
        record = record_of(row, name_target=True)
        record |= {"batch_size": count, "bytes": stamp.size, "modified_ns": stamp.modified_ns}
        if not self.probabilities:
            return record
        if flat:
            return record | {
                f"probability:{name}": f"{value:.6f}"
                for name, value in zip(self.classes, row.probabilities, strict=True)
            }
        return record | {
            "probabilities": {
                name: round(value, 6) for name, value in zip(self.classes, row.probabilities, strict=True)
            }
        }

    def _recover(self) -> int:
        """Read what is done, cut off what is torn; returns the bytes that were cut off."""
        template = Row("", "", "", 0.0, 0, "", (0.0,) * len(self.classes))
        columns = list(self._record(template, 1, Stamp(0, 0), flat=self._csv))
        header = _csv([columns]).encode() if self._csv else b""
        group: list[bytes] = []
        with self.out.open("rb") as file:
            start = file.read(len(header))
            if start != header:
                if not header.startswith(start):
                    raise self._foreign(_unlike(start + file.readline(_LONGEST), columns))
                self._file.cut(0)
                self._file.append(header.decode())
                return len(start)
            whole = len(header)
            lines = _WholeLines(file, whole)
            for number, record in enumerate(self._read(lines, columns), 1):
                try:
                    if list(record) != columns:
                        raise ValueError(f"its columns are not {', '.join(columns)}")
                    batch, count, size, modified = (_whole(record, name) for name in _NUMBERS)
                    stamp = Stamp(size, modified)
                except (TypeError, ValueError) as error:
                    raise self._foreign(f"image {number}: {error}") from None
                if group and batch != self.next_batch:
                    raise self._foreign(f"image {number}: rows of batch {self.next_batch} are missing before it")
                self.next_batch = batch
                group.append(key_of(record["path"], stamp))
                if len(group) == count:
                    self.done.update(group)
                    self.images += count
                    self.next_batch, whole, group = batch + 1, lines.offset, []
        torn = self._file.size - whole
        if torn:
            self._file.cut(whole)
        return torn

    def _read(self, lines: _WholeLines, columns: list[str]) -> Iterator[dict[str, Any]]:
        try:
            if self._csv:
                for row in csv.reader(lines, strict=True):
                    if len(row) != len(columns):
                        raise ValueError(f"{len(row)} columns in the place of {len(columns)}")
                    yield dict(zip(columns, row, strict=True))
            else:
                for line in lines:
                    record = json.loads(line)
                    yield record if isinstance(record, dict) else {}
        except csv.Error as error:
            if "unexpected end" not in str(error):  # that one is a quoted name, torn
                raise self._foreign(f"line {lines.number}: {error}") from None
        except ValueError as error:
            raise self._foreign(f"line {lines.number}: {error}") from None

    def _foreign(self, why: str) -> InputError:
        return InputError(
            f"{self.out} is there, and not as this command writes it: {why}",
            "Name another --out, or move that file away: its images are then predicted again.",
        )


def skipped_file(out: Path) -> Path:
    """Where the files that were skipped are listed, beside the predictions in `out`."""
    return out.with_name(f"{out.stem}.skipped.jsonl")


class SkippedList:
    """`NAME.skipped.jsonl` beside the predictions: files that could not be used, each once, with the reason."""

    def __init__(self, out: Path) -> None:
        self.path = skipped_file(out)
        self.keys: set[bytes] = set()
        """Of the files that are not to be tried again unless they change."""
        self.new = 0
        """Files that were listed since the start."""
        if self.path.exists():
            self._recover()

    def add(self, relative: str, reason: str, stamp: Stamp | None) -> None:
        """List a file. Without a stamp (it has vanished) one of the same name will be read if it comes."""
        record: dict[str, Any] = {"path": relative, "reason": reason}
        if stamp is not None:
            record |= {"bytes": stamp.size, "modified_ns": stamp.modified_ns}
        with AppendFile(self.path) as file:
            file.append(json_line(record))
        self.new += 1
        if stamp is not None:
            self.keys.add(key_of(relative, stamp))

    def _recover(self) -> None:
        with AppendFile(self.path) as log, self.path.open("rb") as file:
            lines = _WholeLines(file)
            for line in lines:
                try:
                    record = json.loads(line)
                    if "bytes" in record:
                        self.keys.add(key_of(record["path"], Stamp(record["bytes"], record["modified_ns"])))
                except (KeyError, TypeError, ValueError, AttributeError):
                    raise InputError(
                        f"{self.path}, line {lines.number}: not as this command writes it",
                        "Move that file away; the files it lists are then tried again.",
                    ) from None
            if lines.offset < log.size:
                log.cut(lines.offset)


def _whole(record: Mapping[str, Any], name: str) -> int:
    try:
        return int(record[name])
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {record[name]!r}, no whole number: has a spreadsheet saved it?") from None


def _unlike(head: bytes, columns: Sequence[str]) -> str:
    """Why a CSV file that begins with `head` is not one of these columns, as its user would say it."""
    text, signs = decoded(head), []
    if head.startswith(BOMS):
        signs.append("a byte order mark")
    line = text.splitlines()[0] if text else ""
    for separator in (",", ";", "\t"):
        found = next(csv.reader([line], delimiter=separator), [])
        if len(set(found) & set(columns)) > 1:
            break
    else:
        return f"it does not begin with the columns {', '.join(columns)}"
    if separator != ",":
        signs.append(f"{'tabs' if separator == chr(9) else repr(separator)} between the columns")
    if '"' in line and '"' not in _csv([columns]):
        signs.append("quotes around them")
    if not text.startswith(line + "\r\n"):
        signs.append("other ends of lines")
    lacking, more = [c for c in columns if c not in found], [c for c in found if c not in columns]
    told = [
        *([f"it has {' and '.join(signs)}, as if another program had saved it"] if signs else []),
        *([f"it lacks the columns {', '.join(lacking)}"] if lacking else []),
        *([f"it has other columns: {', '.join(more)}"] if more else []),
    ]
    return "; ".join(told) or f"its columns are in another order than {', '.join(columns)}"


class _WholeLines:
    """Decoded lines of a binary file that end in a newline. A last one without it, or a block of zeros, is torn."""

    def __init__(self, file: io.BufferedReader, offset: int = 0) -> None:
        self._file = file
        self.offset = offset
        """Bytes before the next line."""
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(_LONGEST):
            if self.offset == 0 and (line.startswith(BOMS) or (b"\0" in line[:4] and line[:4].strip(b"\0"))):
                raise ValueError("it is UTF-16, or begins with a byte order mark, as if another program had saved it")
            if not line.endswith(b"\n") or b"\0" in line:
                return
            self.offset += len(line)
            self.number += 1
            yield line.decode("utf-8")


def _csv(rows: Sequence[Any]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue()
