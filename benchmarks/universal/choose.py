"""How good a generator is on the calibration runs: fixed batches of their targets, and of images at home."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.universal.loading import Models, keep_images, settings_of
from benchmarks.universal.mix import CALIBRATION, Run
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.data.streams import Stream, StreamOptions, streams_of
from gformer_cli.folders.domains import Domain, ImageFiles, Layout, find_domains
from gformer_cli.images.preprocessing import Decoded, Preprocessing, read_image
from gformer_cli.methods import METHODS
from gformer_cli.metrics import mean
from gformer_cli.train.run_folder import RunFolder

SIZES = (64, 8)
STREAMS = {"all": "stationary", "waves": "label-shift"}
ROUNDS = 4
"""Batches of each kind, at most; of small ones four times as many."""
HOME = "(at home)"
Cell = tuple[str, str, str, int]
"""Run, place, stream and batch size."""
RIVALS = ("source", "bn", "bn-mix")


@dataclass(frozen=True)
class Batch:
    """Labelled images of one place in one order."""

    run: str
    place: str
    """A target, or at home."""
    stream: str
    size: int
    backbone: Backbone
    images: torch.Tensor
    """The network's input, (B, 3, S, S)."""
    labels: torch.Tensor

    @property
    def cell(self) -> Cell:
        return self.run, self.place, self.stream, self.size


@dataclass(frozen=True)
class Images:
    """Decoded images of one run's places, by path."""

    preprocessing: Preprocessing
    classes: Sequence[str]
    device: torch.device

    def of(self, stream: Stream, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The network's input and the labels of a stream's batch."""
        items = stream.batches[number].items
        read = [read_image(item.file, self.preprocessing) for item in items]
        pixels = torch.stack([one.pixels for one in read if isinstance(one, Decoded)])
        labels = torch.tensor([self.classes.index(str(item.file.label)) for item in items])
        return self.preprocessing.network_input(pixels, self.device), labels.to(self.device)


def calibration_batches(runs: Path, tasks: Path, device: torch.device) -> list[Batch]:
    """Those of all calibration runs that are done, in rounds: any beginning holds all kinds alike."""
    kinds = [
        list(_kinds(run, runs, tasks, device)) for run in CALIBRATION if (runs / run.name / "source.json").exists()
    ]
    waiting = [batches for of_run in kinds for batches in of_run]
    return [batch for number in range(4 * ROUNDS) for batches in waiting for batch in batches[number : number + 1]]


def _kinds(run: Run, runs: Path, tasks: Path, device: torch.device) -> Iterator[list[Batch]]:
    """The batches of every kind, a place, a stream and a size."""
    folder = RunFolder(runs / run.name)
    settings, source = settings_of(run, folder), folder.source()
    backbone = Models(folder, source, settings, device).full
    known = {domain.name: domain for domain in keep_images(run, folder, tasks)}
    home = [replace(one, files=known[one.name].files.at(known[one.name].validation))
            for one in run.domains(tasks)]  # fmt: skip
    merged = Domain(HOME, home[0].root, ImageFiles(file for one in home for file in one.files), home[0].classes)
    images = Images(next(iter(known.values())).preprocessing, source.classes, device)
    places = [*find_domains([run.folder(tasks) / "targets"], Layout.auto), merged]
    for place in places:
        for name, kind in STREAMS.items():
            for size in SIZES:
                (stream,) = streams_of(kind, StreamOptions([place], size, seed=0))
                whole = [number for number, batch in enumerate(stream.batches) if len(batch.items) == size]
                most = ROUNDS * (1 if size == max(SIZES) else 4)
                spaced = whole[:: max(1, len(whole) // most)][:most]
                yield [Batch(run.name, place.name, name, size, backbone, *images.of(stream, n)) for n in spaced]


@torch.no_grad()
def figures(model: GeneralizeFormer, batches: Sequence[Batch], seconds: float, *, single: bool) -> dict[str, Any]:
    """Mean accuracies per kind of batch and method, and how much is lost to the source model at worst.

    With `single` also of `model` in a single pass. Batches that do not come up within `seconds` are left out.
    """
    began, count = time.monotonic(), 0
    right: dict[tuple[str, Cell], list[float]] = {}
    for batch in batches:
        if time.monotonic() - began > seconds:
            break
        count += 1
        for method, logits in _answers(model, batch, single=single):
            accuracy = float((logits.argmax(dim=1) == batch.labels).float().mean())
            right.setdefault((method, batch.cell), []).append(accuracy)
    cells = {key: mean(values) for key, values in right.items()}
    methods = list(dict.fromkeys(method for method, _ in cells))
    found: dict[str, Any] = {"batches": count, "of": len(batches)}
    for method in methods:
        own = {cell: accuracy for (name, cell), accuracy in cells.items() if name == method}
        losses = [cells["source", cell] - accuracy for cell, accuracy in own.items()]
        found[method] = {
            **{kind: round(100.0 * value, 2) for kind, value in _by_kind(own).items()},
            "worst_loss": round(100.0 * max(losses), 2),
            "cells_within_1": round(mean([float(loss <= 0.01) for loss in losses]), 3),
        }
    return found


def _answers(model: GeneralizeFormer, batch: Batch, *, single: bool) -> Iterator[tuple[str, torch.Tensor]]:
    for name in RIVALS:
        yield name, METHODS[name](batch.backbone).predict(batch.images)
    yield "gformer", model(batch.backbone, batch.images).logits
    if single:
        yield "gformer-single", model(batch.backbone, batch.images, single_pass=True).logits


def _by_kind(cells: dict[Cell, float]) -> dict[str, float]:
    """Means over runs and targets per stream and size, and at home."""
    kinds: dict[str, list[float]] = {}
    for (_, place, stream, size), accuracy in cells.items():
        kinds.setdefault(f"{'home-' if place == HOME else ''}{stream}-{size}", []).append(accuracy)
    return {kind: mean(values) for kind, values in sorted(kinds.items())}
