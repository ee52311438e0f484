"""What a line of an audit log holds, and how the file is read. No torch here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from gformer_cli.errors import InputError, plain
from gformer_cli.files import MIB, open_regular

SCHEMA_VERSION = 1
_OPENING = b'{"schema_version":'
"""How every line begins: what tells the start of a torn one from a file of something else."""

_LONGEST = 64 * MIB
"""Bytes of a line."""
_LISTED = 1000
_PATIENCE = 1000
"""So many lines without a record: no more are looked at."""

Figure = float | None
"""A number; None (null in the file) where it is not finite."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ImageRecord(_Part):
    """One image of a batch, and its prediction before (`source_`) and after adapting."""

    path: str
    """As in the predictions: relative to the folder that was named. Bytes that are not UTF-8 are escaped."""
    sha256: str
    """Of the file's bytes."""
    label: str
    confidence: Figure
    source_label: str
    source_confidence: Figure


class LayerRecord(_Part):
    """One normalisation layer; `core.change.Change` defines the figures."""

    name: str
    gamma: Figure
    beta: Figure
    mixing: Figure
    mixing_change: Figure
    mean_shift: Figure
    spread_shift: Figure


class ClassifierRecord(_Part):
    """The linear classifier; `core.change.Change` defines the figures."""

    name: str
    weight: Figure
    bias: Figure


class BatchRecord(_Part):
    """One line: everything about one batch, so that each line can be understood without the others."""

    schema_version: int
    time: datetime
    """When the batch was predicted, in UTC."""
    bundle: str
    """SHA-256 of the bundle's file."""
    settings_hash: str
    settings: dict[str, JsonValue]
    """What decides the predictions beside bundle and images."""
    batch: int
    """Its number in the run that wrote it, from 0."""
    target: str
    decision: str
    """The guard's: `generated`, `blended` or `source`."""
    share: Figure
    """How much of the generated change was used: 1 for `generated`, 0 for `source`."""
    signals: dict[str, Figure]
    """Every figure that the guard looked at."""
    reasons: list[str]
    """Names of the signals that were out of range."""
    seconds: float
    """From decoded images to probabilities."""
    threads: int | None = None
    """That computed it: they round in another order. None where an older gformer wrote it into the settings."""
    layers: list[LayerRecord]
    """Of what was generated, before the guard's decision."""
    classifier: ClassifierRecord
    images: list[ImageRecord]

    @property
    def changed(self) -> int:
        """Images whose label differs from the source model's."""
        return sum(image.label != image.source_label for image in self.images)


def hash_settings(settings: dict[str, JsonValue]) -> str:
    """SHA-256 of settings, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass
class Damage:
    """Lines of a log that are no records, or not of this gformer's."""

    count: int = 0
    lines: list[tuple[int, str]] = field(default_factory=list)
    """The first of them: number and what is wrong."""

    def add(self, number: int, reason: str) -> None:
        """Take in one line."""
        self.count += 1
        if len(self.lines) < _LISTED:
            self.lines.append((number, reason))

    def to_json(self) -> dict[str, Any]:
        """What a document has of it."""
        lines = [{"line": number, "reason": reason} for number, reason in self.lines]
        return {"damaged": self.count, "damaged_lines": lines}


def read_log(path: Path, damage: Damage | None = None) -> Iterator[tuple[int, BatchRecord]]:
    """Every record with the number of its line, from 1. A torn last line is passed over, and so is a damaged one, which
    `damage` is told; without that it is an error.

    Raises `InputError` for a file that is no audit log: no line of it is a record.
    """
    check_file(path)
    first: InputError | None = None
    records = 0
    with os.fdopen(open_regular(path), "rb") as file:
        for number, line in enumerate(_lines(file), 1):
            if not line.endswith(b"\n"):
                if number == 1 and not is_torn(line):
                    raise _foreign(path)
                break
            try:
                record = parse_line(path, number, line)
            except InputError as error:
                if damage is None:
                    raise
                damage.add(number, error.message)
                first = first or error
                if not records and damage.count == _PATIENCE:
                    break
                continue
            records += 1
            yield number, record
    if first is not None and not records:
        raise first


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines of a file, the start of one that is longer than any record."""
    while line := file.readline(_LONGEST):
        yield line if len(line) < _LONGEST else line[:100] + b"\n"
        while len(line) == _LONGEST and not line.endswith(b"\n"):
            line = file.readline(_LONGEST)


def check_file(path: Path) -> None:
    """Raises `InputError` unless `path` is a file."""
    if not path.is_file():
        what = "not an audit log, nor a regular file" if path.exists() else "no such audit log"
        raise InputError(f"{what}: {path}", "Give the file that gformer adapt --audit wrote.")


def parse_line(path: Path, number: int | str, line: bytes) -> BatchRecord:
    """One whole line; `number` names it in the `InputError` for one that is no record."""
    try:
        version = _Versioned.model_validate_json(line).schema_version
        if version <= SCHEMA_VERSION:
            return BatchRecord.model_validate_json(line)
    except ValidationError as error:
        if not line.startswith(_OPENING):
            raise _foreign(path, f", or damaged: line {number} is no record") from None
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"damaged audit log {path}: line {number}: {where + ': ' if where else ''}{plain(first['msg'])}",
            "Only a line at the very end may be torn. Restore the file, or take the line out.",
        ) from None
    raise InputError(
        f"audit log {path} has schema version {version} in line {number}; this gformer reads up to {SCHEMA_VERSION}",
        "Upgrade gformer: pip install --upgrade gformer",
    )


def last_line(path: Path) -> tuple[bytes | None, int]:
    """The last whole line (None if there is none), and the length in bytes of all whole lines.

    Raises `InputError` for a file whose only line is neither whole nor the start of a record.
    """
    size, reach = path.stat().st_size, 1 << 16
    with os.fdopen(open_regular(path), "rb") as file:
        while True:  # from the end, so that a log of years costs no more than a new one
            start = max(0, size - reach)
            file.seek(start)
            block = file.read(size - start)
            end = block.rfind(b"\n") + 1
            begin = block.rfind(b"\n", 0, max(0, end - 1)) + 1
            if end and (begin or start == 0):
                return block[begin:end], start + end
            if start == 0 or reach > _LONGEST:
                if not is_torn(block) or start:
                    raise _foreign(path)
                return None, 0
            reach *= 2


def is_torn(rest: bytes) -> bool:
    """Whether `rest`, which has no end of line, can be what is left of a record."""
    return rest[: len(_OPENING)] == _OPENING[: len(rest)]


def _foreign(path: Path, where: str = "") -> InputError:
    return InputError(
        f"not an audit log: {path}{where}",
        "Give the file that gformer adapt --audit wrote. It may be cut between lines, and a damaged line taken out.",
    )


class _Versioned(_Part):
    schema_version: int


def differing(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Which keys differ, with both values: `batch_size 64 -> 8, seed 0 -> 1`."""
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    parts: list[str] = []
    for key in keys:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            parts.append(f"{key}: {differing(old, new)}")
        else:
            parts.append(f"{key} {old} -> {new}")
    return ", ".join(parts)
