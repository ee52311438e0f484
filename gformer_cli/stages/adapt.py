"""Predict target folders, generating parameters for each batch, and write one row per image."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.data.folders import Domain, ImageFile
from gformer_cli.data.images import Skipped, read_batches
from gformer_cli.data.labelled import unreadable
from gformer_cli.data.streams import arrival_order
from gformer_cli.errors import InputError, WorkError
from gformer_cli.files import atomic_path
from gformer_cli.stages.progress import Progress, Silent
from gformer_cli.stages.targets import check_batch_size

FORMATS = (".csv", ".jsonl")
_NAMES = "backslashreplace"
"""A file name that is not UTF-8 is written with escapes (which JSON reads back), not refused."""


@dataclass(frozen=True)
class Row:
    """One predicted image."""

    target: str
    path: str
    label: str
    confidence: float
    batch: int
    source_label: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class AdaptResult:
    """What `adapt` did."""

    rows: list[Row]
    batches: int
    skipped: list[Skipped]

    def counts(self) -> dict[str, int]:
        """Images per predicted class, most frequent first."""
        return dict(Counter(row.label for row in self.rows).most_common())

    @property
    def changed(self) -> int:
        """Images whose label differs from the source model's."""
        return sum(row.label != row.source_label for row in self.rows)


def check_output(out: Path, *, overwrite: bool) -> None:
    """Raises `InputError` for an unknown suffix, and for an existing file without `overwrite`."""
    if out.suffix not in FORMATS:
        raise InputError(f"cannot tell the format of {out}", f"Name it with one of the suffixes {', '.join(FORMATS)}.")
    if out.is_dir():
        raise InputError(f"{out} is a folder, not a file", "Name a file, such as predictions.csv.")
    if out.exists() and not overwrite:
        raise InputError(f"output file exists: {out}", "Replace it with --overwrite, or name another --out.")


def adapt(
    bundle: Bundle,
    domains: Sequence[Domain],
    *,
    batch_size: int,
    order: str,
    seed: int,
    device: torch.device,
    workers: int,
    strict: bool = False,
    progress: Progress | None = None,
) -> AdaptResult:
    """Predict every readable image of `domains`, one generation per batch; labels are not looked at.

    `order` is `shuffle` (deterministic by `seed`; one class after another would break batch statistics) or
    `name` (order of arrival). Batches never mix domains. Rows come in the order of domains, then names.

    Raises `WorkError` when nothing is readable, and `InputError` for an unreadable image with `strict`.
    """
    progress = progress or Silent()
    check_batch_size(batch_size)
    bundle.to(device)
    rows: list[Row] = []
    skipped: list[Skipped] = []
    batches = 0
    progress.begin("adapting", sum(-(-len(domain.files) // batch_size) for domain in domains))
    for domain in domains:
        stream = read_batches(
            _ordered(domain, order, seed),
            bundle.preprocessing,
            batch_size=batch_size,
            workers=workers,
            skipped=skipped,
        )
        found: list[Row] = []
        known = len(skipped)
        for batch in stream:
            if strict and skipped:
                raise unreadable(skipped)
            found.extend(_predict(bundle, domain, batch.pixels, batch.files, batches, device))
            batches += 1
            progress.advance()
        if strict and skipped:
            raise unreadable(skipped)
        rows.extend(sorted(found, key=lambda row: row.path))
        skipped[known:] = sorted(skipped[known:], key=lambda item: item.path)
    progress.end()
    if not rows:
        raise WorkError(
            f"no readable image: {len(skipped)} skipped, such as {skipped[0].path} ({skipped[0].reason})",
            "See: gformer data check DIR",
        )
    return AdaptResult(rows, batches, skipped)


def write_rows(
    out: Path, result: AdaptResult, classes: Sequence[str], *, probabilities: bool, name_targets: bool
) -> None:
    """CSV or JSON lines by suffix, atomically.

    Columns: path, label, confidence, batch, source_label; with `name_targets` the target; with
    `probabilities` one per class (`probability:CLASS`; in JSON lines one object).
    """
    with atomic_path(out) as temporary:
        if out.suffix == ".csv":
            with temporary.open("w", newline="", encoding="utf-8", errors=_NAMES) as file:
                writer = csv.writer(file)
                records = [_record(row, name_targets) for row in result.rows]
                extra = [f"probability:{name}" for name in classes] if probabilities else []
                writer.writerow([*records[0], *extra])
                for row, record in zip(result.rows, records, strict=True):
                    values = [f"{value:.6f}" for value in row.probabilities] if probabilities else []
                    writer.writerow([*record.values(), *values])
        else:
            with temporary.open("w", encoding="utf-8", errors=_NAMES) as file:
                for row in result.rows:
                    record = _record(row, name_targets)
                    if probabilities:
                        record["probabilities"] = {
                            name: round(value, 6) for name, value in zip(classes, row.probabilities, strict=True)
                        }
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _record(row: Row, name_targets: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "path": row.path,
        "label": row.label,
        "confidence": round(row.confidence, 6),
        "batch": row.batch,
        "source_label": row.source_label,
    }
    return record | {"target": row.target} if name_targets else record


def _ordered(domain: Domain, order: str, seed: int) -> list[ImageFile]:
    if order == "shuffle":
        return arrival_order(domain, seed)
    return sorted(domain.files, key=lambda file: file.relative)


@torch.no_grad()
def _predict(
    bundle: Bundle,
    domain: Domain,
    pixels: torch.Tensor,
    files: Sequence[ImageFile],
    number: int,
    device: torch.device,
) -> list[Row]:
    images = bundle.preprocessing.network_input(pixels, device)
    before = bundle.backbone(images).argmax(dim=1).tolist()
    probabilities = bundle.method(bundle.backbone, images).logits.softmax(dim=1).cpu()
    confidence, label = probabilities.max(dim=1)
    classes = bundle.header.classes
    return [
        Row(
            target=domain.name,
            path=file.relative,
            label=classes[int(label[row])],
            confidence=float(confidence[row]),
            batch=number,
            source_label=classes[before[row]],
            probabilities=tuple(probabilities[row].tolist()),
        )
        for row, file in enumerate(files)
    ]
