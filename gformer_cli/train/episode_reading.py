"""The images of episodes, read ahead in the order in which training comes to the episodes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from gformer_cli.compute import ranks
from gformer_cli.data.loader import Reader, Tensors
from gformer_cli.train.episodes import EpisodeWork, validation_shares

Numbered = tuple[int, int]
"""A run, and the number of one of its episodes."""


def read_ahead(
    works: Sequence[EpisodeWork],
    onwards: Callable[[Numbered], Iterable[Numbered]],
    *,
    workers: int,
    pinned: bool,
) -> tuple[Reader[Numbered], Reader[Numbered]]:
    """Let the episodes of `works`, one for each run, find their images read by so many `workers`.

    `onwards` gives the training episodes from one on. Validation episodes come run by run. Returns what reads them.
    """
    every = [(run, number) for run, work in enumerate(works) for number in range(len(work.validation))]
    held_out = [every[place] for place in validation_shares(works)[ranks.rank()]]

    def drawn(key: Numbered) -> Tensors:
        return works[key[0]].sampler.draw(key[1]).read()

    def validated(key: Numbered) -> Tensors:
        return works[key[0]].validation[key[1]].read()

    training = Reader(drawn, onwards, workers=workers, pinned=pinned)
    validation = Reader(validated, lambda key: held_out[held_out.index(key) :], workers=workers, pinned=pinned)
    for run, work in enumerate(works):
        work.read = partial(_of_run, training, run)
        work.read_held_out = partial(_of_run, validation, run)
    return training, validation


def _of_run(reader: Reader[Numbered], run: int, number: int) -> Tensors:
    return reader.get((run, number))
