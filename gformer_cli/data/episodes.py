"""Episodes: labelled source batches that play an unseen target (GeneralizeFormer, section 3.3).

They are like what users meet: all classes alike or a few of them, one image or many, one condition or two, after
other batches of the same place or alone, and at home, where the right answer is to do nothing. An episode is fixed by
the seed and its number, so any of them can be redrawn.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.shifts import HELD_OUT_FAMILIES, Shift, draw_shift
from gformer_cli.seeding import derive_seed

CONCENTRATIONS = (0.01, 3.0)
"""Of the Dirichlet distribution that the class shares of a skewed batch are drawn from: one class, to nearly all."""
MOST_EARLIER = 3
"""Batches before an episode's own."""


@dataclass(frozen=True)
class Episode:
    """A meta-target batch: which images of which domain, under which simulated shift."""

    domain: LabelledDomain
    positions: tuple[int, ...]
    shift: Shift | None
    skewed: bool = False
    """Whether its class shares were drawn from a Dirichlet distribution."""
    at_home: bool = False
    """Whether the source model knows the domain, which it meets unshifted."""
    other: Shift | None = None
    """The second half of the batch is under this shift, where there is one."""
    earlier: tuple[tuple[int, ...], ...] = ()
    """The batches that came before, under the first shift."""
    single_pass: bool = False
    """Whether a generator that would probe is to generate in a single pass."""
    pixels: tuple[torch.Tensor, ...] = ()
    """What `read` has given; empty where it is read when it is asked for."""

    def read(self) -> tuple[torch.Tensor, ...]:
        """uint8 (B, 3, S, S): of this batch, then of each batch before."""
        return tuple(self.domain.pixels(positions) for positions in (self.positions, *self.earlier))

    @property
    def condition(self) -> tuple[str, int, bool, bool]:
        """What it has in common with other episodes: domain, batch size, whether it is shifted, and at home."""
        return self.domain.name, len(self.positions), self.shift is not None, self.at_home

    def inputs(self, device: torch.device) -> torch.Tensor:
        """The network's input, float32 (B, 3, S, S)."""
        images = self._pixels(0, device)
        if self.other is None:
            return self._shifted(images)
        half = len(images) // 2
        second = self.domain.preprocessing.normalise(self.other(images[half:]))
        return torch.cat([self._shifted(images[:half]), second]) if half else second

    def earlier_inputs(self, device: torch.device) -> list[torch.Tensor]:
        """Those of the batches before, float32 (B_i, 3, S, S)."""
        return [self._shifted(self._pixels(place, device)) for place in range(1, 1 + len(self.earlier))]

    def labels(self, device: torch.device) -> torch.Tensor:
        """Class indices, (B,). Only losses and figures may read them."""
        return self.domain.labels[list(self.positions)].to(device)

    def _pixels(self, place: int, device: torch.device) -> torch.Tensor:
        found = self.pixels[place] if self.pixels else self.domain.pixels((self.positions, *self.earlier)[place])
        return found.to(device, non_blocking=True).float() / 255.0

    def _shifted(self, images: torch.Tensor) -> torch.Tensor:
        return self.domain.preprocessing.normalise(images if self.shift is None else self.shift(images))


@dataclass(frozen=True)
class EpisodeSampler:
    """Draws training episodes.

    Batch sizes are log-uniform from 1 to `largest_batch`, so that small batches are met as often as large
    ones. Each share in (0, 1) is of all episodes, drawn independently.
    """

    domains: Sequence[LabelledDomain]
    seed: int
    largest_batch: int
    skewed: float
    """Whose class shares are drawn from a Dirichlet distribution."""
    shift_probability: float
    """That carry a shift of `families`."""
    shift_strength: float
    families: Sequence[str]
    at_home: float = 0.0
    """On a domain that the source model knows, unshifted."""
    two_conditions: float = 0.0
    """Of those with a shift, whose second half is under another one."""
    context: float = 0.0
    """After batches of the same domain and condition."""
    single_pass: float = 0.0
    """Generated in a single pass, whatever the generator would do."""

    def draw(self, number: int) -> Episode:
        """Episode `number`."""
        rng = random.Random(derive_seed(self.seed, "episode", number))
        domain = rng.choice(list(self.domains))
        size = _log_uniform(rng, self.largest_batch)
        skewed = rng.random() < self.skewed
        positions = _drawn(rng, domain.train, domain.train_by_class, size, skewed=skewed)
        at_home = rng.random() < self.at_home
        shift = other = None
        if rng.random() < self.shift_probability and not at_home:
            shift = draw_shift(rng, self.families, self.shift_strength)
            if rng.random() < self.two_conditions:
                other = draw_shift(rng, self.families, self.shift_strength)
        earlier: list[tuple[int, ...]] = []
        if rng.random() < self.context:
            for _ in range(rng.randint(1, MOST_EARLIER)):
                before = _log_uniform(rng, max(1, self.largest_batch // 4))
                earlier.append(_drawn(rng, domain.train, domain.train_by_class, before, skewed=skewed))
        single_pass = rng.random() < self.single_pass
        return Episode(domain, positions, shift, skewed, at_home, other, tuple(earlier), single_pass)


def validation_episodes(
    domains: Sequence[LabelledDomain],
    *,
    seed: int,
    batch_sizes: Sequence[int],
    batches: int,
    skewed: float,
    unshifted: bool,
    strength: float,
    at_home: bool = False,
) -> list[Episode]:
    """The fixed episodes that select a generator: validation images, families of shifts not trained on.

    Per domain and batch size `batches` with a held-out shift, with `unshifted` as many without, and with `at_home` as
    many that the source model meets at home; of each the share `skewed`, rounded to whole batches, has class shares
    from a Dirichlet distribution.
    """
    alike = batches - round(skewed * batches)
    found: list[Episode] = []
    for domain in domains:
        for size in batch_sizes:
            for number in range(batches * (1 + unshifted + at_home)):
                rng = random.Random(derive_seed(seed, "validation", domain.name, size, number))
                few = number % batches >= alike
                chosen = _drawn(rng, domain.validation, domain.validation_by_class, size, skewed=few)
                shift = draw_shift(rng, HELD_OUT_FAMILIES, strength) if number < batches else None
                if chosen:
                    found.append(Episode(domain, chosen, shift, few, number >= batches * (1 + unshifted)))
    return found


def _log_uniform(rng: random.Random, most: int) -> int:
    drawn: float = 2.0 ** rng.uniform(0.0, math.log2(most))
    return round(drawn)


def _drawn(
    rng: random.Random, pool: Sequence[int], of_class: Mapping[int, Sequence[int]], size: int, *, skewed: bool
) -> tuple[int, ...]:
    """At most `size` of `pool`, positions that `of_class` has by label: as they come, or with class shares that are
    drawn.

    A class that runs out gives what it has.
    """
    if not skewed or not pool:
        return tuple(rng.sample(pool, min(size, len(pool))))
    low, high = (math.log(bound) for bound in CONCENTRATIONS)
    labels = sorted(of_class)
    wanted = Counter(rng.choices(labels, _dirichlet(rng, math.exp(rng.uniform(low, high)), len(labels)), k=size))
    chosen: list[int] = []
    for label in labels:
        chosen += rng.sample(of_class[label], min(wanted[label], len(of_class[label])))
    rng.shuffle(chosen)
    return tuple(chosen)


def _dirichlet(rng: random.Random, concentration: float, count: int) -> list[float]:
    """`count` shares, as parts of the largest."""
    # in logarithms: of a gamma variable of small shape little is left but its logarithm (Marsaglia and Tsang 2000)
    logs = [
        math.log(rng.gammavariate(concentration + 1.0, 1.0)) + math.log(1.0 - rng.random()) / concentration
        for _ in range(count)
    ]
    most = max(logs)
    return [math.exp(each - most) for each in logs]
