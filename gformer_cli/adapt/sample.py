"""A sink that keeps what a report shows of unlabelled images: counts, confidences, and a few pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import torch

from gformer_cli.adapt.predictor import Outcome
from gformer_cli.images.thumbnails import thumbnail

BINS = 20
"""Of confidence, from 0 to 1."""
CHANGED, KEPT = 8, 4
"""Pictures of a target: whose label changed, and whose did not."""
PICTURES = 48
"""Of all targets together."""


@dataclass(frozen=True)
class Picture:
    """One image, before (the source model) and after adapting."""

    target: str
    path: str
    before: str
    before_confidence: float
    after: str
    after_confidence: float
    thumbnail: str
    """A data URI."""

    @property
    def changed(self) -> bool:
        return self.before != self.after


@dataclass
class TargetSample:
    """What one target got."""

    batches: int = 0
    images: int = 0
    changed: int = 0
    """Images whose label differs from the source model's."""
    confidence_before: float = 0.0
    """Sum over images."""
    confidence_after: float = 0.0
    decisions: Counter[str] = field(default_factory=Counter)
    """Batches by the guard's decision."""
    pictures: list[Picture] = field(default_factory=list)


class Sample:
    """Call it with each outcome. Its memory grows with classes and targets, not with images."""

    def __init__(self, classes: list[str]) -> None:
        self.classes = classes
        self.before: Counter[str] = Counter()
        """Images by predicted class; `after` likewise."""
        self.after: Counter[str] = Counter()
        self.bins_before = [0] * BINS
        """Images by confidence."""
        self.bins_after = [0] * BINS
        self.answers: Counter[tuple[str, str]] = Counter()
        """Images by the source model's label and the adapted one."""
        self.targets: dict[str, TargetSample] = {}

    def __call__(self, outcome: Outcome) -> None:
        """Take in one batch."""
        was, now = outcome.source_labels, outcome.labels
        before, after = outcome.source_probabilities.amax(dim=1), outcome.probabilities.amax(dim=1)
        target = self.targets.setdefault(outcome.target, TargetSample())
        target.batches += 1
        target.images += len(now)
        target.changed += int((was != now).sum())
        target.confidence_before += float(before.double().sum())
        target.confidence_after += float(after.double().sum())
        target.decisions[outcome.verdict.decision] += 1
        for counts, bins, labels, confidence in (
            (self.before, self.bins_before, was, before),
            (self.after, self.bins_after, now, after),
        ):
            counts.update(self.classes[label] for label in labels.tolist())
            for number in (confidence * BINS).long().clamp(0, BINS - 1).tolist():
                bins[number] += 1
        pairs = zip(was.tolist(), now.tolist(), strict=True)
        self.answers.update((self.classes[before], self.classes[after]) for before, after in pairs)
        self._keep_pictures(outcome, target, (before, was), (after, now))

    def _keep_pictures(
        self,
        outcome: Outcome,
        target: TargetSample,
        before: tuple[torch.Tensor, torch.Tensor],
        after: tuple[torch.Tensor, torch.Tensor],
    ) -> None:
        for row, file in enumerate(outcome.batch.files):
            was, now = (self.classes[int(labels[row])] for _, labels in (before, after))
            alike = sum(picture.changed == (was != now) for picture in target.pictures)
            total = sum(len(sample.pictures) for sample in self.targets.values())
            if alike < (KEPT if was == now else CHANGED) and total < PICTURES:
                shown = thumbnail(outcome.batch.pixels[row])
                trust = float(before[0][row]), float(after[0][row])
                picture = Picture(outcome.target, file.relative, was, trust[0], now, trust[1], shown)
                target.pictures.append(picture)
