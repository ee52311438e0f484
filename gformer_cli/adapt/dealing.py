"""The batches of a folder dealt out to processes, in rounds of one each: the batches that one process alone makes.

Which images a batch holds depends on which before it could be read, and each process reads its own alone. So the others
are told of every image that could not be, and the batches are cut anew from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from gformer_cli.compute import ranks
from gformer_cli.folders.domains import ImageFiles
from gformer_cli.images.preprocessing import Batch, Decoded, Preprocessing, Skipped, read_images, stack


@dataclass(frozen=True)
class Round:
    """A batch for each process, as long as there are any."""

    own: Batch | None
    """This process's, the rank-th of the round; None where there are not so many."""
    batches: int
    """In the whole round."""


def dealt(
    files: ImageFiles,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    workers: int,
    skipped: list[Skipped],
) -> Iterator[Round]:
    """All rounds. `skipped` is as `images.preprocessing.read_batches` has it, in every process."""
    left = files
    while left:
        done, broken = 0, set[int]()
        for given in _rounds(left, preprocessing, batch_size, workers):
            for number, item in (one for found in ranks.gathered(given.unreadable) for one in found):
                broken.add(number)
                skipped.append(item)
            if broken:
                break
            done += given.images
            yield Round(stack(given.decoded) if given.decoded else None, -(-given.images // batch_size))
        left = left.at(number for number in range(done, len(left)) if number not in broken)


@dataclass(frozen=True)
class _Given:
    """What a process has read of a round, on the assumption that all of it can be read."""

    decoded: list[Decoded]
    unreadable: list[tuple[int, Skipped]]
    """By the number of their files."""
    images: int
    """In the whole round."""


def _rounds(files: ImageFiles, preprocessing: Preprocessing, batch_size: int, workers: int) -> Iterator[_Given]:
    taken = ranks.size() * batch_size
    numbers = range(len(files))
    own = [numbers[start:][:taken][ranks.rank() * batch_size :][:batch_size] for start in numbers[::taken]]
    reads = read_images((files[number] for mine in own for number in mine), preprocessing, workers=workers)
    for start, mine in zip(numbers[::taken], own, strict=True):
        items = list(islice(reads, len(mine)))
        yield _Given(
            [item for item in items if isinstance(item, Decoded)],
            [(number, item) for number, item in zip(mine, items, strict=True) if isinstance(item, Skipped)],
            len(numbers[start:][:taken]),
        )
