"""Episodes: labelled source batches that play an unseen target (GeneralizeFormer, section 3.3).

An episode is fixed by the seed and its number, so any of them can be redrawn.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.shifts import HELD_OUT_FAMILIES, Shift, draw_shift
from gformer_cli.seeding import derive_seed


@dataclass(frozen=True)
class Episode:
    """A meta-target batch: which images of which domain, under which simulated shift."""

    domain: LabelledDomain
    positions: tuple[int, ...]
    shift: Shift | None

    def inputs(self, device: torch.device) -> torch.Tensor:
        """The network's input, float32 (B, 3, S, S)."""
        images = self.domain.pixels(self.positions).to(device).float() / 255.0
        if self.shift is not None:
            images = self.shift(images)
        return self.domain.preprocessing.normalise(images)

    def labels(self, device: torch.device) -> torch.Tensor:
        """Class indices, (B,). Only losses and figures may read them."""
        return self.domain.labels[list(self.positions)].to(device)


@dataclass(frozen=True)
class EpisodeSampler:
    """Draws training episodes.

    Batch sizes are log-uniform from 1 to `largest_batch`, so that small batches are met as often as large
    ones. A share `few_classes` of the batches holds two classes only; a share `shift_probability` carries a
    shift of `families`.
    """

    domains: Sequence[LabelledDomain]
    seed: int
    largest_batch: int
    few_classes: float
    shift_probability: float
    shift_strength: float
    families: Sequence[str]

    def draw(self, number: int) -> Episode:
        """Episode `number`."""
        rng = random.Random(derive_seed(self.seed, "episode", number))
        domain = rng.choice(list(self.domains))
        size = round(2.0 ** rng.uniform(0.0, math.log2(self.largest_batch)))
        pool: Sequence[int] = domain.train
        if rng.random() < self.few_classes:
            pool = _of_two_classes(rng, domain, pool)
        shift = None
        if rng.random() < self.shift_probability:
            shift = draw_shift(rng, self.families, self.shift_strength)
        return Episode(domain, tuple(rng.sample(pool, min(size, len(pool)))), shift)


def validation_episodes(
    domains: Sequence[LabelledDomain],
    *,
    seed: int,
    batch_sizes: Sequence[int],
    batches: int,
    few_classes: float,
    unshifted: bool,
    strength: float,
) -> list[Episode]:
    """The fixed episodes that select a generator: validation images, families of shifts not trained on.

    Per domain and batch size `batches` with a held-out shift and, with `unshifted`, as many without; a share
    `few_classes` of each, rounded to whole batches, holds two classes only.
    """
    of_all_classes = batches - round(few_classes * batches)
    found: list[Episode] = []
    for domain in domains:
        for size in batch_sizes:
            for number in range(batches * (2 if unshifted else 1)):
                rng = random.Random(derive_seed(seed, "validation", domain.name, size, number))
                pool: Sequence[int] = domain.validation
                if number % batches >= of_all_classes:
                    pool = _of_two_classes(rng, domain, pool)
                chosen = tuple(rng.sample(pool, min(size, len(pool))))
                shift = draw_shift(rng, HELD_OUT_FAMILIES, strength) if number < batches else None
                if chosen:
                    found.append(Episode(domain, chosen, shift))
    return found


def _of_two_classes(rng: random.Random, domain: LabelledDomain, pool: Sequence[int]) -> list[int]:
    """What `pool`, positions in `domain`, holds of two of its classes, drawn; of one where there is no other."""
    present = sorted({int(domain.labels[position]) for position in pool})
    kept = set(rng.sample(present, min(2, len(present))))
    return [position for position in pool if int(domain.labels[position]) in kept]
