"""Appending to an audit log: a line is on the disk before the call returns."""

from __future__ import annotations

import math
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import JsonValue

from gformer_cli.adapt.appending import AppendFile
from gformer_cli.adapt.predictor import Outcome
from gformer_cli.audit.records import (
    SCHEMA_VERSION,
    BatchRecord,
    ClassifierRecord,
    Figure,
    ImageRecord,
    LayerRecord,
    differing,
    hash_settings,
    last_line,
    parse_line,
)
from gformer_cli.bundle import Bundle, library_versions
from gformer_cli.core.change import FIGURES
from gformer_cli.errors import InputError
from gformer_cli.export.model import GraphModel
from gformer_cli.files import check_appendable, encodable


def environment(device: torch.device, *, onnx: bool = False) -> dict[str, JsonValue]:
    """What predictions depend on to the last bit beside bundle, images and settings. `onnx`: of an exported file."""
    on_gpu = device.type == "cuda"
    chip = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": str(device),
        "hardware": torch.cuda.get_device_name(device) if on_gpu else chip,
        "versions": dict(library_versions() | ({"onnxruntime": version("onnxruntime")} if onnx else {})),
    }


class AuditLog:
    """A sink of outcomes: one line a batch, forced to the disk.

    A file that exists is continued, never replaced. A torn last line, of a process that was killed while it wrote,
    is cut off first.

    Raises `InputError` where the file is something else or cannot be written, and, without `append`, where its last
    line is of another bundle or of other settings: a log of two models is nothing that should come about by accident.
    """

    def __init__(
        self,
        path: Path,
        bundle: Bundle | GraphModel,
        bundle_sha256: str,
        settings: dict[str, JsonValue],
        *,
        append: bool = False,
    ) -> None:
        self.path = path
        self.bundle = bundle
        self.bundle_sha256 = bundle_sha256
        self.settings = settings
        self.settings_hash = hash_settings(settings)
        self._file: AppendFile | None = None
        if path.exists():
            self._check(append)
        check_appendable(path)

    def _check(self, append: bool) -> None:
        if not self.path.is_file():
            raise InputError(f"{self.path} is not a file", "Name a file with --audit, such as audit.jsonl.")
        line, _ = last_line(self.path)
        if line is None:
            return
        last = parse_line(self.path, "the last", line)
        if append or (last.bundle, last.settings_hash) == (self.bundle_sha256, self.settings_hash):
            return
        if last.bundle != self.bundle_sha256:
            what = f"another bundle ({last.bundle[:12]}, this one is {self.bundle_sha256[:12]})"
        else:
            what = f"other settings ({differing(last.settings, self.settings)})"
        raise InputError(
            f"audit log {self.path} was written with {what}",
            "Continue it all the same with --audit-append, or name another file.",
        )

    def open(self) -> AuditLog:
        """Create the file, or cut off what is torn. Nothing is touched before."""
        self._file = AppendFile(self.path)
        _, whole = last_line(self.path)
        if whole < self._file.size:
            self._file.cut(whole)
        return self

    def __enter__(self) -> AuditLog:
        return self if self._file is not None else self.open()

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __call__(self, outcome: Outcome) -> None:
        """Append one batch; it is on the disk when this returns."""
        assert self._file is not None
        self._file.append(self.record(outcome).model_dump_json() + "\n")

    def record(self, outcome: Outcome) -> BatchRecord:
        """What is written about one batch."""
        change = outcome.measure()
        names, classifier = self.bundle.adapted_names
        verdict = outcome.verdict
        return BatchRecord(
            schema_version=SCHEMA_VERSION,
            time=datetime.now(timezone.utc),
            bundle=self.bundle_sha256,
            settings_hash=self.settings_hash,
            settings=self.settings,
            batch=outcome.number,
            target=encodable(outcome.target),
            decision=verdict.decision,
            share=_finite(verdict.share),
            signals={name: _short(value) for name, value in verdict.signals.items()},
            reasons=list(verdict.reasons),
            seconds=round(outcome.seconds, 6),
            threads=outcome.threads,
            layers=[
                LayerRecord(name=name, **dict(zip(FIGURES, map(_short, row), strict=True)))
                for name, row in zip(names, change.layers.tolist(), strict=True)
            ],
            classifier=ClassifierRecord(name=classifier, weight=_short(change.weight), bias=_short(change.bias)),
            images=image_records(outcome, self.bundle.header.classes),
        )


def image_records(outcome: Outcome, classes: list[str]) -> list[ImageRecord]:
    """Each image's file and predictions, in the order of the batch; confidences to the last bit."""
    before, after = outcome.source_probabilities.amax(dim=1).tolist(), outcome.probabilities.amax(dim=1).tolist()
    before_label, after_label = outcome.source_labels.tolist(), outcome.labels.tolist()
    return [
        ImageRecord(
            path=encodable(file.relative),
            sha256=digest,
            label=classes[after_label[index]],
            confidence=_finite(after[index]),
            source_label=classes[before_label[index]],
            source_confidence=_finite(before[index]),
        )
        for index, (file, digest) in enumerate(zip(outcome.batch.files, outcome.batch.digests, strict=True))
    ]


def _finite(value: float) -> Figure:
    return value if math.isfinite(value) else None


def _short(value: float) -> Figure:
    return round(value, 6) if math.isfinite(value) else None
