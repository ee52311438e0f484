"""Cells on disk: written as each stream finishes, so that a killed evaluation goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gformer_cli.bundle import Described, library_versions
from gformer_cli.data.orders import Item
from gformer_cli.data.streams import Stream
from gformer_cli.errors import InputError
from gformer_cli.evaluate.plan import Plan
from gformer_cli.evaluate.reading import with_nan
from gformer_cli.evaluate.results import Cell, Choice
from gformer_cli.export.header import model_hash
from gformer_cli.files import MIB, append_json_line, read_regular
from gformer_cli.images.preprocessing import Skipped

Key = tuple[Any, ...]
_LARGEST = 1024 * MIB


class Records:
    """What is found so far; in memory, or with a path also in `cells.jsonl`, one line a stream or tuned method."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.cells: list[Cell] = []
        self.skipped: dict[str, Skipped] = {}
        self.choices: dict[str, Choice] = {}
        self._done: set[Key] = set()

    def __len__(self) -> int:
        """Finished streams."""
        return len(self._done)

    @classmethod
    def open(cls, path: Path, identity: dict[str, Any], *, resume: bool) -> Records:
        """Start a file whose first line tells `identity`, or with `resume` go on with one that has the same.

        A last line that was cut off in the middle is dropped. Raises `InputError` where the file is of another
        evaluation.
        """
        records = cls(path)
        mark = marked(identity)
        if resume:
            records._read(mark)
        else:
            append_json_line(path, {"evaluation": mark})
        return records

    def has(self, seed: int, stream: Stream) -> bool:
        """Whether this stream is finished."""
        return _key(seed, stream) in self._done

    def add(self, seed: int, stream: Stream, cells: Sequence[Cell], skipped: Sequence[Skipped]) -> None:
        """Take in, and write down, all cells of a finished stream."""
        key = _key(seed, stream)
        self._take(key, cells, skipped)
        self._write({"key": key, "cells": [asdict(c) for c in cells], "skipped": [asdict(s) for s in skipped]})

    def sort(self, drawn: Sequence[tuple[int, Stream]]) -> None:
        """Put the cells in the order of their streams, whichever finished first."""
        places = {_key(seed, stream): place for place, (seed, stream) in enumerate(drawn)}
        self.cells.sort(key=lambda cell: places[cell.seed, cell.stream, cell.part, cell.batch_size, cell.severity])

    def choose(self, method: str, choice: Choice) -> None:
        """Take in, and write down, what --tune chose for a method."""
        self.choices[method] = choice
        self._write({"tuned": method, "choice": asdict(choice)})

    def _write(self, record: dict[str, Any]) -> None:
        if self.path is not None:
            append_json_line(self.path, record)

    def _take(self, key: Key, cells: Sequence[Cell], skipped: Sequence[Skipped]) -> None:
        self._done.add(key)
        self.cells.extend(cells)
        self.skipped |= {item.path: item for item in skipped}

    def _read(self, mark: str) -> None:
        assert self.path is not None
        try:
            content = read_regular(self.path, _LARGEST)
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}", "Start again with --overwrite.") from None
        whole = content[: content.rfind(b"\n") + 1]
        lines = [line for line in whole.split(b"\n") if line]
        first = _parsed(self.path, 1, lines[0]) if lines else {}
        if first.get("evaluation") != mark:
            raise InputError(
                f"{self.path} was begun with another bundle, other images or other options",
                "Resume with the command it was started with, or start again with --overwrite.",
            )
        if whole != content:
            self.path.write_bytes(whole)
        for number, text in enumerate(lines[1:], start=2):
            line = _parsed(self.path, number, text)
            try:
                if "tuned" in line:
                    self.choices[str(line["tuned"])] = TypeAdapter(Choice).validate_python(line["choice"])
                    continue
                cells = TypeAdapter(list[Cell]).validate_python(with_nan(line["cells"]))
                skipped = TypeAdapter(list[Skipped]).validate_python(line["skipped"])
                self._take(tuple(line["key"]), cells, skipped)
            except (ValueError, KeyError, TypeError):
                raise _damaged(self.path, number) from None


def marked(identity: dict[str, Any]) -> str:
    """What tells an evaluation from others: SHA-256 over its `identity`."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _parsed(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if not isinstance(line, dict):
        raise _damaged(path, number)
    return line


def _damaged(path: Path, number: int) -> InputError:
    return InputError(f"line {number} of {path} is damaged", "Start again with --overwrite.")


def _key(seed: int, stream: Stream) -> Key:
    return seed, stream.kind, stream.part, stream.batch_size, stream.severity


def describe_bundle(path: Path, bundle: Described) -> dict[str, Any]:
    """What identifies a bundle inside results: its file's name and content, and what it was made of."""
    return {
        "file": path.name,
        "sha256": model_hash(path),
        "backbone": bundle.header.backbone.name,
        "generator": bundle.header.generator.settings.kind,
        "classes": bundle.header.classes,
        "data_fingerprint": bundle.header.data.fingerprint,
        "validation_accuracy": bundle.header.data.validation_accuracy,
        "still_rising": bundle.header.data.still_rising,
        "static": None if bundle.header.static is None else bundle.header.static.model_dump(),
    }


def identity(bundle: dict[str, Any], plan: Plan, *, tune: bool, white_level: float | None = None) -> dict[str, Any]:
    """Everything that an evaluation's figures depend on and that can be told without reading an image.

    `bundle` is what `describe_bundle` says.
    """
    return {
        "bundle": bundle["sha256"],
        **({} if white_level is None else {"white_level": white_level}),
        "versions": library_versions(),
        "methods": list(plan.methods),
        "streams": list(plan.streams),
        "batch_size": plan.batch_size,
        "seeds": list(plan.seeds),
        "skew": plan.skew,
        "tune": tune,
        "examine": plan.examine,
        "images": [
            [domain.name, file.relative, file.label]
            for domain in (*plan.targets, *plan.source)
            for file in domain.files
        ],
        **({"times": _times(plan)} if plan.by_arrival else {}),
        **plan.chosen_shifts,
    }


def _times(plan: Plan) -> list[float]:
    return [plan.time(Item(domain.name, file)) for domain in plan.targets for file in domain.files]
