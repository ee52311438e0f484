from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.audit.records import BatchRecord, ClassifierRecord, ImageRecord, LayerRecord, hash_settings

START = datetime(2026, 3, 1, 22, 30, tzinfo=timezone.utc)
MakeRecord = Callable[..., BatchRecord]


@pytest.fixture
def make_record() -> MakeRecord:
    """`make_record(3, decision="source")`: the fourth batch, three minutes after the start; two images, one changed."""

    def make(number: int = 0, **others: Any) -> BatchRecord:
        settings = others.get("settings", {"batch_size": 2})
        fields: dict[str, Any] = {
            "schema_version": 1,
            "time": START + timedelta(minutes=number),
            "bundle": "b" * 64,
            "settings_hash": hash_settings(settings),
            "settings": settings,
            "batch": number,
            "target": "fog",
            "decision": "generated",
            "share": 1.0,
            "signals": {},
            "reasons": [],
            "seconds": 0.5,
            "layers": [layer("first", 0.3), layer("second", 0.6)],
            "classifier": ClassifierRecord(name="head", weight=0.4, bias=0.1),
            "images": [image("a.png", "cat", "cat"), image("b.png", "dog", "cat")],
        }
        return BatchRecord(**fields | others)

    return make


def layer(name: str, size: float, *, shift: float = 0.3) -> LayerRecord:
    return LayerRecord(
        name=name,
        gamma=size,
        beta=size / 3 * 4,
        mixing=0.5,
        mixing_change=0.1,
        mean_shift=shift,
        spread_shift=shift / 3 * 4,
    )


def image(path: str, label: str, before: str) -> ImageRecord:
    return ImageRecord(
        path=path, sha256="0" * 64, label=label, confidence=0.75, source_label=before, source_confidence=0.5
    )


@pytest.fixture
def write_records() -> Callable[..., Path]:
    def write(path: Path, *records: BatchRecord) -> Path:
        path.write_text("".join(record.model_dump_json() + "\n" for record in records))
        return path

    return write
