"""Which images to label next: those that adapting is unsure of, or changed the answer to, each for others like it.

The rule clusters uncertainty-weighted embeddings (CLUE: Prabhu et al. 2021, arXiv 2010.08666). An image weighs as much
as the adapted answer is unsure (entropy), and as far as the source model's lies from it (Jensen-Shannon divergence,
the disagreement of a committee of two: McCallum and Nigam 1998). k-means with these weights makes as many clusters as
images are wanted; of each the image nearest to its centre is picked. So what is picked is uncertain, and varied.

Memory does not grow with the images: a pool is drawn from them with these weights, whatever their number and order
(Efraimidis and Spirakis 2006). No label is looked at.
"""

from __future__ import annotations

import csv
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from gformer_cli.adapt.clustering import clusters
from gformer_cli.adapt.predictor import Outcome
from gformer_cli.files import atomic_path
from gformer_cli.seeding import derive_seed

_EACH, _MOST = 20, 20_000
"""The pool holds so many images for each that is wanted, at most so many together, but never below twice as many."""
_LEAST = 1e-6
"""What a sure image weighs."""
DISAGREE, UNSURE, TYPICAL = "labels differ", "unsure", "typical"
"""Why an image was picked: the models label it differently; it weighs more than the mean; it stands for others."""


@dataclass(frozen=True)
class Candidate:
    """An image that may be worth a label."""

    target: str
    path: str
    """As in the predictions."""
    file: str
    """Where it lies."""
    label: str
    confidence: float
    source_label: str
    source_confidence: float
    uncertainty: float
    """Entropy of the adapted answer, as a share of the greatest possible: from 0 to 1."""
    disagreement: float
    """Jensen-Shannon divergence of the two answers, from 0 to 1."""
    place: np.ndarray[Any, np.dtype[np.float32]] = field(repr=False)
    """What it looks like to the model, (D,): similar images lie near each other."""
    key: float
    """Whose is among the lowest is in the pool: an exponential variable whose rate is the weight."""

    @property
    def weight(self) -> float:
        return self.uncertainty + self.disagreement + _LEAST

    @property
    def order(self) -> tuple[float, str, str]:
        """The same whichever process has seen it."""
        return self.key, self.target, self.path


@dataclass(frozen=True)
class Pool:
    """What is left of the images that one process has seen."""

    images: int = 0
    weight: float = 0.0
    """Of all of them together."""
    candidates: Sequence[Candidate] = ()


@dataclass(frozen=True)
class Pick:
    """A candidate that was picked."""

    image: Candidate
    stands_for: int
    """Images of the pool in its cluster."""
    why: str


class Picker:
    """A sink of outcomes. What it keeps depends on how many images are `wanted`, not on how many come."""

    def __init__(self, classes: Sequence[str], wanted: int, seed: int) -> None:
        self.classes = classes
        self.wanted = wanted
        self.seed = seed
        self.images = 0
        self.weight = 0.0
        self._kept: list[tuple[float, int, Candidate]] = []
        """A heap, the greatest key first."""

    def __call__(self, outcome: Outcome) -> None:
        """Take in one batch."""
        after, before = outcome.probabilities.double(), outcome.source_probabilities.double()
        own, others = _entropies(after), _entropies(before)
        divergence = (_entropies((after + before) / 2.0) - (own + others) / 2.0).clamp_min(0.0) / math.log(2.0)
        places = _places(outcome)
        for row, file in enumerate(outcome.batch.files):
            label, source_label = int(outcome.labels[row]), int(outcome.source_labels[row])
            uncertainty = float(own[row]) / math.log(max(2, len(self.classes)))
            weight = uncertainty + float(divergence[row]) + _LEAST
            drawn = (derive_seed(self.seed, "pick", outcome.target, file.relative) + 1) / 2**63
            self.images += 1
            self.weight += weight
            key = -math.log(drawn) / weight
            if len(self._kept) >= pool_size(self.wanted) and -key < self._kept[0][0]:
                continue
            candidate = Candidate(
                target=outcome.target,
                path=file.relative,
                file=str(file.path),
                label=self.classes[label],
                confidence=float(after[row, label]),
                source_label=self.classes[source_label],
                source_confidence=float(before[row, source_label]),
                uncertainty=uncertainty,
                disagreement=float(divergence[row]),
                place=places[row].copy(),  # not the batch's
                key=key,
            )
            push = heapq.heappush if len(self._kept) < pool_size(self.wanted) else heapq.heappushpop
            push(self._kept, (-key, -self.images, candidate))

    @property
    def pool(self) -> Pool:
        """What is kept so far."""
        return Pool(self.images, self.weight, [candidate for _, _, candidate in self._kept])


def pool_size(wanted: int) -> int:
    """How many images a pool holds at most."""
    return max(2 * wanted, min(_EACH * wanted, _MOST))


def pick(pools: Sequence[Pool], wanted: int, seed: int) -> list[Pick]:
    """At most `wanted` images of `pools`, one of each process, what stands for the greatest weight first."""
    everything = sorted((one for pool in pools for one in pool.candidates), key=lambda one: one.order)
    pool = everything[: pool_size(wanted)]
    if not pool:
        return []
    weights = np.array([one.weight for one in pool])
    own, distances = clusters(np.stack([one.place for one in pool]).astype(np.float64), weights, wanted, seed)
    members = [np.flatnonzero(own == number) for number in range(own.max() + 1)]
    members = sorted((found for found in members if len(found)), key=lambda found: -weights[found].sum())
    mean = sum(one.weight for one in pools) / sum(one.images for one in pools)
    picks = [_picked(pool[found[distances[found].argmin()]], len(found), mean) for found in members]
    # images that lie on each other make fewer clusters: the heaviest of what is left are picked by themselves
    taken = {id(one.image) for one in picks}
    left = sorted((one for one in pool if id(one) not in taken), key=lambda one: -one.weight)
    return picks + [_picked(one, 1, mean) for one in left[: wanted - len(picks)]]


def _picked(image: Candidate, stands_for: int, mean: float) -> Pick:
    if image.label != image.source_label:
        return Pick(image, stands_for, DISAGREE)
    return Pick(image, stands_for, UNSURE if image.weight > mean else TYPICAL)


def write_picks(out: Path, picks: Sequence[Pick], *, name_targets: bool) -> None:
    """A CSV, atomically: a row an image, in the order in which to label them."""
    with (
        atomic_path(out) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        rows = [picked_row(rank, one, name_target=name_targets) for rank, one in enumerate(picks, 1)]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def picked_row(rank: int, one: Pick, *, name_target: bool) -> dict[str, Any]:
    """The columns of one row, by name."""
    image = one.image
    row = {
        "rank": rank,
        "path": image.path,
        "why": one.why,
        "label": image.label,
        "confidence": round(image.confidence, 6),
        "source_label": image.source_label,
        "source_confidence": round(image.source_confidence, 6),
        "uncertainty": round(image.uncertainty, 6),
        "disagreement": round(image.disagreement, 6),
        "stands_for": one.stands_for,
        "file": image.file,
    }
    return row | {"target": image.target} if name_target else row


def _entropies(probabilities: torch.Tensor) -> torch.Tensor:
    """In nats: (B,) for probabilities (B, K)."""
    terms: torch.Tensor = torch.special.xlogy(probabilities, probabilities)
    return -terms.sum(dim=1)


def _places(outcome: Outcome) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Where images lie, (B, D): adapted probabilities, beside features of length 1 where the model shows any."""
    parts = [outcome.probabilities.float()]
    shown = None if outcome.prediction is None else outcome.prediction.probe.features
    if shown is not None and shown.shape[0] == len(outcome.labels) and shown.shape[1]:
        parts.append(F.normalize(shown.float().flatten(1), dim=1).cpu())
    found: np.ndarray[Any, np.dtype[np.float32]] = torch.cat(parts, dim=1).numpy()
    return found
