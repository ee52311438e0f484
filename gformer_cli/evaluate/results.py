"""What was measured: cells, and what they sum up to."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from gformer_cli.bundle import library_versions
from gformer_cli.core.estimators import ESTIMATORS
from gformer_cli.evaluate.estimates import missed
from gformer_cli.evaluate.harm import harms
from gformer_cli.files import finite
from gformer_cli.images.preprocessing import Skipped
from gformer_cli.metrics import mean, paired_bootstrap, standard_error

SCHEMA_VERSION = 2
REFERENCE = "source"
"""The plain forward pass that gains, harm and costs are measured against; it is always run."""
_LISTS = ("batch_images", "batch_correct", "calibration", "estimates", "details")
MEASURES = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece", "brier")


@dataclass(frozen=True)
class Inside:
    """What was generated for some batches of a stream; a row a batch, a column a normalisation layer."""

    layers: list[str]
    batches: list[int]
    """Their numbers in the stream."""
    change: list[list[float]]
    """γ's and β's residual as one length, as a share of the source model's γ (`core.change.Change`)."""
    moved: list[list[float]]
    """How far the batch's statistics lie from those of training, mean and spread as one length."""
    mixing: list[list[float]]
    """Share of the batch's own statistics."""


@dataclass(frozen=True)
class Picture:
    """An image whose label adapting changed."""

    path: str
    batch: int
    label: str
    """The right one."""
    before: str
    """The source model's."""
    before_confidence: float
    after: str
    after_confidence: float
    thumbnail: str
    """A data URI."""


@dataclass(frozen=True)
class Answers:
    """Images of one cell that the source model gives one label and `gformer` one, equal or another."""

    before: str
    after: str
    images: int
    gained: int
    """Of those, where `gformer` alone is right."""
    lost: int
    """Where the source model alone is right."""


@dataclass(frozen=True)
class Details:
    """What a report shows of one cell beyond its figures."""

    inside: Inside
    pictures: list[Picture]
    answers: list[Answers] = field(default_factory=list)
    """Most images first; empty in results of before."""


@dataclass(frozen=True)
class Cell:
    """One method on one target of one stream, once."""

    method: str
    stream: str
    part: str
    """Which stream of its kind: a target, or `all` where one stream runs through several."""
    target: str
    batch_size: int
    seed: int
    severity: int | None
    """Of the corruption, in `shifts` alone."""
    n: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    nll: float
    ece: float
    brier: float
    seconds_per_image: float
    cost_ratio: float
    """Time relative to a plain forward pass over the same batches, measured in turn with it."""
    forwards: float
    """Passes of the network per image; a pass over an augmented copy counts as one."""
    backwards: float
    peak_mib: float
    """Most memory that the stream's first batch needs beyond what was held before it, in MiB; not a number where it is
    not known, as of an exported file."""
    batch_images: list[int]
    """Per batch of the stream that holds images of this target, in order: how many."""
    batch_correct: list[int]
    calibration: list[tuple[int, float, float]]
    """Per confidence bin that holds images: how many, mean confidence, accuracy."""
    predictions: str
    """SHA-256 of the predicted class indices in order: equal predictions give equal figures."""
    ece_calibrated: float = math.nan
    """`ece` at the temperature that was fitted for the method on source images; not a number where none was."""
    estimates: dict[str, float] = field(default_factory=dict)
    """Accuracy as each of `core.estimators` guesses it without labels; without those that cannot be had here."""
    details: Details | None = None
    """Of `gformer` on the first streams, where a report was asked for."""

    @property
    def place(self) -> tuple[Any, ...]:
        """What is measured here, whatever the method."""
        return (*self.setting, self.part, self.target, self.seed, self.severity)

    @property
    def setting(self) -> tuple[str, int]:
        """What figures are averaged within: the kind of stream and the batch size."""
        return self.stream, self.batch_size


@dataclass(frozen=True)
class Difference:
    """Accuracy of a method less another's on the same batches: mean over targets and seeds, 95 % bootstrap interval."""

    other: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """One method on one kind of stream at one batch size, over targets (each counts alike) and seeds."""

    stream: str
    batch_size: int
    method: str
    n: int
    accuracy: float
    standard_error: float
    """Over seeds; not a number for one seed."""
    balanced_accuracy: float
    macro_f1: float
    nll: float
    ece: float
    brier: float
    targets: dict[str, float]
    """Accuracy per target."""
    to_source: Difference | None
    to_best_other: Difference | None
    """To the best of the other methods, `source` included."""
    worst_target: str
    harm: float
    """Accuracy lost to `source` on the target where most is lost; 0 where none is."""
    harmed_batches: float
    """Share of the batches with fewer correct predictions than `source` has."""
    cost_ratio: float
    forwards: float
    backwards: float
    peak_mib: float
    ece_calibrated: float = math.nan
    to_source_by_target: dict[str, Difference] = field(default_factory=dict)
    """`to_source` on each target alone; empty for `source` itself."""


@dataclass(frozen=True)
class Choice:
    """The settings that --tune chose for one method, on held-out source images."""

    settings: Mapping[str, Any]
    """Empty where nothing beats the defaults."""
    accuracy: float
    default_accuracy: float
    """With the method's own defaults, on the same images."""
    tried: int


@dataclass(frozen=True)
class Results:
    """What `evaluate` measured."""

    bundle: dict[str, Any]
    methods: Sequence[str]
    """In the order they were asked for."""
    cells: list[Cell]
    skipped: list[Skipped]
    tuned: Mapping[str, Choice] = field(default_factory=dict)
    """Per tuned method what was chosen; empty without --tune."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """How this was measured: the command, and the options that it stands for."""

    def of(self, method: str, setting: tuple[str, int] | None = None) -> list[Cell]:
        """The cells of one method, of one stream and batch size if given."""
        return [c for c in self.cells if c.method == method and setting in (None, c.setting)]

    @property
    def settings(self) -> list[tuple[str, int]]:
        """Every stream with each of its batch sizes, in the order measured."""
        return list(dict.fromkeys(cell.setting for cell in self.cells))

    def summaries(self) -> list[Summary]:
        """Every method on every stream and batch size."""
        return [self._summary(method, setting) for setting in self.settings for method in self.methods]

    def to_json(self) -> dict[str, Any]:
        """The document `results.json`; a figure that does not exist is null."""
        summaries = self.summaries()
        document: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "bundle": self.bundle,
            "versions": library_versions(),
            "run": dict(self.run),
            "tuned": {name: asdict(choice) for name, choice in self.tuned.items()},
            "summaries": [asdict(summary) for summary in summaries],
            "harm": [harm.to_json() for harm in harms(summaries)],
            "estimates": [one.to_json() for one in missed(self.cells, self.methods)],
            "cells": [_without_details(asdict(cell)) for cell in self.cells if cell.method in self.methods],
            "skipped": [asdict(item) for item in self.skipped],
        }
        cleaned: dict[str, Any] = finite(document)
        return cleaned

    def to_csv(self) -> str:
        """A row a cell, without the lists: for spreadsheets. A figure that does not exist is empty."""
        text = io.StringIO()
        columns = [f.name for f in fields(Cell) if f.name not in _LISTS]
        guessed = {f"estimate_{name}": name for name in ESTIMATORS}
        writer = csv.DictWriter(text, [*columns, *guessed], extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for cell in self.cells:
            if cell.method in self.methods:
                estimates = {column: cell.estimates.get(name) for column, name in guessed.items()}
                writer.writerow(finite(asdict(cell)) | estimates)
        return text.getvalue()

    def _summary(self, method: str, setting: tuple[str, int]) -> Summary:
        cells = self.of(method, setting)
        accuracies = {name: _averages(self.of(name, setting)) for name in {method, REFERENCE}}
        lost = {target: accuracies[REFERENCE][target] - value for target, value in accuracies[method].items()}
        worst = max(lost, key=lambda target: lost[target])
        others = {name: _over_targets(self.of(name, setting)) for name in {*self.methods, REFERENCE} - {method}}
        best = max(sorted(others), key=lambda name: others[name]) if others else None
        seeds = sorted({cell.seed for cell in cells})
        by_place = {cell.place: cell for cell in self.of(REFERENCE, setting)}
        harmed = [
            mine < theirs
            for cell in cells
            for mine, theirs in zip(cell.batch_correct, by_place[cell.place].batch_correct, strict=True)
        ]
        more = "ece_calibrated", "cost_ratio", "forwards", "backwards"
        figures = {name: _over_targets(cells, name) for name in (*MEASURES, *more)}
        return Summary(
            stream=setting[0],
            batch_size=setting[1],
            method=method,
            n=sum(cell.n for cell in cells),
            standard_error=standard_error(_over_targets([c for c in cells if c.seed == seed]) for seed in seeds),
            targets=accuracies[method],
            to_source=None if method == REFERENCE else self._difference(method, REFERENCE, setting),
            to_best_other=None if best is None else self._difference(method, best, setting),
            worst_target=worst,
            harm=max(0.0, lost[worst]),
            harmed_batches=mean(harmed),
            peak_mib=max(cell.peak_mib for cell in cells),
            to_source_by_target={}
            if method == REFERENCE
            else {target: self._difference(method, REFERENCE, setting, target) for target in accuracies[method]},
            **figures,
        )

    def _difference(self, method: str, other: str, setting: tuple[str, int], target: str | None = None) -> Difference:
        """Over all targets, or on one alone."""
        mine, theirs = (
            [cell for cell in self.of(name, setting) if target in (None, cell.target)] for name in (method, other)
        )
        return paired_difference(other, mine, theirs)


def paired_difference(name: str, mine: Sequence[Cell], theirs: Sequence[Cell]) -> Difference:
    """Accuracy of `mine` less that of `theirs`, called `name`, on the same targets. Each target counts alike.

    The interval is a bootstrap over batches; there is none where the two were measured on batches of other sizes.
    """
    pair = {cell.place: cell for cell in mine}
    same = 0 < len(pair) == len(theirs) and all(
        cell.place in pair and pair[cell.place].batch_images == cell.batch_images for cell in theirs
    )
    if not same:
        before, now = _averages(theirs), _averages(mine)
        return Difference(
            name, mean(now[target] - before[target] for target in before if target in now), math.nan, math.nan
        )
    targets = Counter[str]()
    for cell in mine:
        targets[cell.target] += cell.n
    differences: list[float] = []
    weights: list[float] = []
    for other in theirs:
        cell = pair[other.place]
        for images, one, two in zip(cell.batch_images, cell.batch_correct, other.batch_correct, strict=True):
            differences.append((one - two) / images)
            weights.append(images / targets[cell.target])
    low, high = paired_bootstrap(differences, weights)
    total = sum(d * w for d, w in zip(differences, weights, strict=True))
    return Difference(name, total / sum(weights), low, high)


def _averages(cells: Sequence[Cell], measure: str = "accuracy") -> dict[str, float]:
    """Per target the mean over its cells, weighted by images."""
    averages: dict[str, float] = {}
    for target in dict.fromkeys(cell.target for cell in cells):
        own = [cell for cell in cells if cell.target == target]
        averages[target] = sum(getattr(c, measure) * c.n for c in own) / sum(c.n for c in own)
    return averages


def _over_targets(cells: Sequence[Cell], measure: str = "accuracy") -> float:
    return mean(_averages(cells, measure).values())


def _without_details(cell: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in cell.items() if name != "details" or value is not None}
