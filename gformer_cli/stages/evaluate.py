"""Measure methods on labelled targets: every method sees the same batches in the same order."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gformer_cli.bundle import Bundle, library_versions
from gformer_cli.data.folders import Domain
from gformer_cli.data.images import Batch, Skipped, read_batches
from gformer_cli.data.labelled import unreadable
from gformer_cli.data.streams import stationary
from gformer_cli.errors import InputError, WorkError, did_you_mean
from gformer_cli.files import make_folder, write_json
from gformer_cli.methods import METHODS, Method
from gformer_cli.metrics import accuracy, mean
from gformer_cli.stages.progress import Progress, Silent
from gformer_cli.stages.targets import check_batch_size, check_known_classes

SCHEMA_VERSION = 1
REFERENCE = "source"
"""The plain forward pass that costs are given as a multiple of; it is always run."""


@dataclass(frozen=True)
class Cell:
    """One method on one target, once."""

    method: str
    stream: str
    target: str
    batch_size: int
    seed: int
    n: int
    accuracy: float
    seconds_per_image: float
    cost_ratio: float
    """Time relative to a plain forward pass over the same batches, measured in turn with it."""


@dataclass(frozen=True)
class Results:
    """What `evaluate` measured."""

    bundle: dict[str, Any]
    cells: list[Cell]
    skipped: list[Skipped]

    def average(self, method: str) -> float:
        """Mean accuracy over targets (and seeds), each target counting alike."""
        return mean(cell.accuracy for cell in self.cells if cell.method == method)

    def to_json(self) -> dict[str, Any]:
        """The document `results.json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "bundle": self.bundle,
            "versions": library_versions(),
            "averages": {method: self.average(method) for method in self.methods},
            "cells": [asdict(cell) for cell in self.cells],
            "skipped": [asdict(item) for item in self.skipped],
        }

    @property
    def methods(self) -> list[str]:
        """The measured methods in the order they were asked for."""
        return list(dict.fromkeys(cell.method for cell in self.cells))


def check_methods(names: Sequence[str]) -> list[str]:
    """The names without repetition; raises `InputError` for an unknown one."""
    for name in names:
        if name not in METHODS:
            raise InputError(f"unknown method: {name!r}", did_you_mean(name, METHODS))
    return list(dict.fromkeys(names))


def parse_limits(texts: Sequence[str], methods: Sequence[str]) -> dict[str, float]:
    """`METHOD=VALUE` texts as least average accuracies; raises `InputError` for anything else."""
    limits: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in methods:
            raise InputError(f"--fail-under names {name!r}, which is not measured", did_you_mean(name, methods))
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = float("nan")
        if not 0.0 <= limits[name] <= 1.0:
            raise InputError(
                f"--fail-under wants METHOD=VALUE with a value from 0 to 1, got {text!r}",
                "For example: --fail-under gformer=0.8",
            )
    return limits


def require(results: Results, limits: Mapping[str, float]) -> None:
    """Raises `WorkError` when a method's average accuracy is under its limit."""
    missed = [name for name, limit in limits.items() if results.average(name) < limit]
    if missed:
        told = "; ".join(f"{name} {results.average(name):.4f} < {limits[name]:.4f}" for name in missed)
        raise WorkError(f"average accuracy under the limit: {told}", "Set by --fail-under.")


def check_output(folder: Path, *, overwrite: bool) -> Path:
    """Where results.json goes; raises `InputError` for a non-empty folder without `overwrite`."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder", "Name a folder with --out; results.json goes inside.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(
            f"output folder is not empty: {folder}",
            "Replace results.json in it with --overwrite, or name another --out.",
        )
    return folder / "results.json"


def write_results(path: Path, results: Results) -> None:
    """Write results.json atomically, making its folder if need be."""
    make_folder(path.parent)
    write_json(path, results.to_json())


def describe_bundle(path: Path, bundle: Bundle) -> dict[str, Any]:
    """What identifies a bundle inside results: its file's name and content, and what it was made of."""
    return {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "backbone": bundle.header.backbone.name,
        "generator": bundle.header.generator.settings.kind,
        "classes": bundle.header.classes,
        "data_fingerprint": bundle.header.data.fingerprint,
    }


def evaluate(
    bundle: Bundle,
    domains: Sequence[Domain],
    *,
    identity: dict[str, Any],
    methods: Sequence[str],
    batch_size: int,
    seeds: Sequence[int],
    device: torch.device,
    workers: int,
    strict: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Every method on every target (stream `stationary`) for every seed; `identity` goes into the results.

    Unreadable images are left out of every method alike and listed. Raises `InputError` for classes that the
    bundle does not know, `WorkError` for a target without any readable image.
    """
    progress = progress or Silent()
    check_batch_size(batch_size)
    check_known_classes(domains, bundle.header.classes)
    bundle.to(device)
    names = list(dict.fromkeys([REFERENCE, *methods]))
    runners = {name: METHODS[name](bundle) for name in names}
    cells: list[Cell] = []
    skipped: dict[str, Skipped] = {}
    for seed in seeds:
        for domain in domains:
            missed: list[Skipped] = []
            batches = read_batches(
                stationary(domain, seed),
                bundle.preprocessing,
                batch_size=batch_size,
                workers=workers,
                skipped=missed,
            )
            progress.begin(f"evaluating {domain.name}", -(-len(domain.files) // batch_size))
            tallies = _run(runners, batches, bundle, device, progress)
            progress.end()
            for item in missed:
                skipped[str(domain.root / item.path)] = Skipped(f"{domain.root.name}: {item.path}", item.reason)
            if missed and strict:
                raise unreadable(missed)
            n = tallies[REFERENCE].total
            if n == 0:
                raise WorkError(f"no readable image in target {domain.root}", "See: gformer data check")
            plain = tallies[REFERENCE].seconds
            cells.extend(
                Cell(
                    method=name,
                    stream="stationary",
                    target=domain.name,
                    batch_size=batch_size,
                    seed=seed,
                    n=n,
                    accuracy=accuracy(tallies[name].correct, n),
                    seconds_per_image=tallies[name].seconds / n,
                    cost_ratio=tallies[name].seconds / plain,
                )
                for name in methods
            )
    return Results(identity, cells, list(skipped.values()))


@dataclass
class _Tally:
    correct: int = 0
    total: int = 0
    seconds: float = 0.0


def _run(
    runners: dict[str, Method],
    batches: Iterable[Batch],
    bundle: Bundle,
    device: torch.device,
    progress: Progress,
) -> dict[str, _Tally]:
    """All methods over one stream, in turn within each batch so that a busy machine slows all alike."""
    tallies = {name: _Tally() for name in runners}
    index = {name: number for number, name in enumerate(bundle.header.classes)}
    warm = False
    for method in runners.values():
        method.reset()
    for batch in batches:
        images = bundle.preprocessing.network_input(batch.pixels, device)
        labels = torch.tensor([index[str(file.label)] for file in batch.files])
        if not warm:  # the first pass of a shape pays for one-time set-up in the libraries
            for method in runners.values():
                method.predict(images)
                method.reset()
            warm = True
        for name, method in runners.items():
            _wait_for(device)
            began = time.perf_counter()
            logits = method.predict(images)
            _wait_for(device)
            tally = tallies[name]
            tally.seconds += time.perf_counter() - began
            tally.correct += int((logits.argmax(dim=1).cpu() == labels).sum())
            tally.total += len(labels)
        progress.advance()
    return tallies


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
