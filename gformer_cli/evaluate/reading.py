"""results.json read back, with what it says checked."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from gformer_cli.errors import InputError
from gformer_cli.evaluate.results import REFERENCE, SCHEMA_VERSION, Cell, Summary
from gformer_cli.files import MIB, read_text
from gformer_cli.folders.domains import nfc

_UNKNOWN = (
    *("standard_error", "low", "high", "nll", "ece", "ece_calibrated", "brier", "accuracy", "mean", "harm", "peak_mib"),
)
"""Figures that may be null in the file, because they do not exist."""
_LARGEST = 256 * MIB


@dataclass(frozen=True)
class Document:
    """A results.json. The figures are the file's own; nothing is computed anew."""

    bundle: dict[str, Any]
    versions: dict[str, Any]
    summaries: list[Summary]
    cells: list[Cell]
    skipped: list[dict[str, str]]
    run: dict[str, Any] = field(default_factory=dict)
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.summaries:
            raise ValueError("no summaries")
        if any(REFERENCE not in self.methods(setting) for setting in self.settings):
            raise ValueError(f"{REFERENCE} is not among the methods")

    @property
    def settings(self) -> list[tuple[str, int]]:
        """Every stream with each of its batch sizes, in order."""
        return list(dict.fromkeys((s.stream, s.batch_size) for s in self.summaries))

    def methods(self, setting: tuple[str, int]) -> dict[str, Summary]:
        """The summaries of one stream and batch size, by method."""
        return {s.method: s for s in self.summaries if (s.stream, s.batch_size) == setting}

    def of(self, setting: tuple[str, int], method: str | None = None) -> list[Cell]:
        """The cells of one stream and batch size, of one method if given."""
        return [c for c in self.cells if c.setting == setting and method in (None, c.method)]


def read_results(path: Path) -> Document:
    """Read what `gformer evaluate --out` wrote. Raises `InputError` for anything else."""
    return parse_results(read_document(path), path)


def read_document(path: Path, what: str = "results") -> Any:
    """The JSON value in a file of results. Raises `InputError` for a file that cannot be read or holds none."""
    try:
        return json.loads(read_text(path, _LARGEST), parse_constant=_no_number)
    except OSError as error:
        if error.errno == errno.EILSEQ:  # no text at all
            raise foreign(path) from None
        raise InputError(f"cannot read {what} {path}: {error.strerror}", "Give a results.json.") from None
    except (ValueError, RecursionError):
        raise foreign(path) from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def parse_results(content: Any, path: Path | str = "results.json") -> Document:
    """The document that `Results.to_json` made; `path` names it in errors. Raises `InputError` for anything else."""
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int):
        raise foreign(path)
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path} has schema version {version}; this gformer reads version {SCHEMA_VERSION}",
            "Measure again with this gformer.",
        )
    try:
        return _composed(TypeAdapter(Document).validate_python(with_nan(content)))
    except ValueError as error:  # pydantic's is one
        first = str(error).splitlines()
        where = next((line.strip() for line in first[1:]), "")
        raise InputError(
            f"damaged results: {path}{f' ({where})' if where else ''}",
            "Give the file as gformer evaluate --out wrote it.",
        ) from None


def with_nan(value: Any) -> Any:
    """What `files.finite` left of figures, with the ones that do not exist as numbers again that are none."""
    if isinstance(value, Mapping):
        return {key: math.nan if item is None and key in _UNKNOWN else with_nan(item) for key, item in value.items()}
    return [with_nan(item) for item in value] if isinstance(value, list) else value


def _composed(document: Document) -> Document:
    """With targets in composed spelling, as every evaluation names them now."""
    summaries = [
        replace(
            summary,
            targets={nfc(name): value for name, value in summary.targets.items()},
            worst_target=nfc(summary.worst_target),
            to_source_by_target={nfc(name): value for name, value in summary.to_source_by_target.items()},
        )
        for summary in document.summaries
    ]
    cells = [replace(cell, part=nfc(cell.part), target=nfc(cell.target)) for cell in document.cells]
    return replace(document, summaries=summaries, cells=cells)


def foreign(path: Path | str) -> InputError:
    """The error for a file that is something else."""
    return InputError(f"not a results.json: {path}", "Give the file that gformer evaluate --out wrote.")
