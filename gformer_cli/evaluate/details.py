"""What a report shows beyond figures: the inside of `gformer` batch by batch, and images whose label it changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from math import hypot

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.core.change import measure_change
from gformer_cli.data.streams import Stream
from gformer_cli.evaluate.loading import Loaded
from gformer_cli.evaluate.results import Answers, Details, Inside, Picture
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.thumbnails import thumbnail
from gformer_cli.metrics import probabilities

STREAMS = 12
"""So many streams are looked into, the first ones: what is kept must not grow with the plan."""
BATCHES = 24
"""Of a stream, evenly spread."""
PICTURES = 4
"""Of a target in a stream, each of: the source model was wrong and `gformer` is right, the reverse, both are wrong."""
ANSWERS = 200
"""Pairs of labels that are kept of a target."""
MOST_PICTURES = 24
"""Of a stream."""


class Examiner:
    """Looks into the batches of one stream. It sees what was predicted and changes nothing.

    Args:
        place: names an image in the results.
    """

    def __init__(self, bundle: Bundle, stream: Stream, place: Callable[[ImageFile], str]) -> None:
        self.bundle = bundle
        self.place = place
        count = len(stream.batches)
        self._chosen = {number * count // BATCHES for number in range(BATCHES)} if count > BATCHES else range(count)
        self._inside: dict[str, Inside] = {}
        self._answers: dict[str, Counter[tuple[int, int, int]]] = {}
        self._pictures: dict[str, dict[str, list[Picture]]] = {}

    @torch.no_grad()
    def look(self, number: int, batch: Loaded, before: torch.Tensor, after: torch.Tensor) -> None:
        """Take in the batch with this number in the stream; logits (B, K) of the source model and of `gformer`."""
        if number in self._chosen:
            self._look_inside(number, batch)
        self._look_at_images(number, batch, before, after)

    def details(self, target: str) -> Details:
        """What was kept of one target."""
        kinds = self._pictures.get(target, {})
        inside = self._inside.get(target, Inside([], [], [], [], []))
        return Details(inside, list(chain.from_iterable(kinds[kind] for kind in sorted(kinds))), self._crossed(target))

    def _crossed(self, target: str) -> list[Answers]:
        """The answers to one target."""
        counts = self._answers.get(target, Counter())
        images: dict[tuple[int, int], Counter[int]] = {}
        for (was, now, right), count in counts.items():
            images.setdefault((was, now), Counter())[right] += count
        classes = self.bundle.header.classes
        ordered = sorted(images, key=lambda pair: (-images[pair].total(), pair))[:ANSWERS]
        return [
            Answers(
                classes[was],
                classes[now],
                images[was, now].total(),
                gained=images[was, now][now] if was != now else 0,
                lost=images[was, now][was] if was != now else 0,
            )
            for was, now in ordered
        ]

    def _look_inside(self, number: int, batch: Loaded) -> None:
        figures = measure_change(self.bundle.model(self.bundle.backbone, batch.inputs)).layers.tolist()
        names = list(self.bundle.backbone.layer_names)
        # of a batch that holds several targets, the first image's: the figures are of the batch as a whole
        inside = self._inside.setdefault(batch.targets[0], Inside(names, [], [], [], []))
        inside.batches.append(number)
        inside.change.append([round(hypot(gamma, beta), 5) for gamma, beta, *_ in figures])
        inside.mixing.append([round(row[2], 5) for row in figures])
        inside.moved.append([round(hypot(row[4], row[5]), 5) for row in figures])

    def _look_at_images(self, number: int, batch: Loaded, before: torch.Tensor, after: torch.Tensor) -> None:
        known = self.bundle.temperatures
        (trust_before, label_before), (trust_after, label_after) = (
            probabilities(logits / temperature).max(dim=1)
            for logits, temperature in ((before, known.source), (after, known.adapted))
        )
        for row, target in enumerate(batch.targets):
            answer = int(label_before[row]), int(label_after[row]), int(batch.labels[row])
            self._answers.setdefault(target, Counter())[answer] += 1
        classes = self.bundle.header.classes
        for row in (label_before != label_after).nonzero().flatten().tolist():
            label, was, now = int(batch.labels[row]), int(label_before[row]), int(label_after[row])
            kind = "gained" if now == label else "lost" if was == label else "wrong"
            kept = self._pictures.setdefault(batch.targets[row], {}).setdefault(kind, [])
            total = sum(len(pictures) for kinds in self._pictures.values() for pictures in kinds.values())
            if len(kept) == PICTURES or total == MOST_PICTURES:
                continue
            picture = Picture(
                path=self.place(batch.files[row]),
                batch=number,
                label=classes[label],
                before=classes[was],
                before_confidence=float(trust_before[row]),
                after=classes[now],
                after_confidence=float(trust_after[row]),
                thumbnail=thumbnail(self.bundle.preprocessing.pixels(batch.inputs[row])),
            )
            kept.append(picture)
