from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, local
from typing import Any

import pytest

from gformer_cli.adapt.dealing import dealt
from gformer_cli.compute import ranks
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles
from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Preprocessing, Skipped, read_batches
from gformer_cli.settings import DataSettings


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """`in_threads(size, work)`: what `work` gives in so many threads that stand for processes."""

    def call(size: int, work: Callable[[], Any]) -> list[Any]:
        own, meet, table = local(), Barrier(size), [None] * size

        def gathered(value: Any) -> list[Any]:
            table[own.rank] = value
            meet.wait()
            found = list(table)
            meet.wait()
            return found

        monkeypatch.setattr(ranks, "rank", lambda: own.rank)
        monkeypatch.setattr(ranks, "size", lambda: size)
        monkeypatch.setattr(ranks, "gathered", gathered)

        def run(rank: int) -> Any:
            own.rank = rank
            return work()

        with ThreadPoolExecutor(size) as pool:
            return list(pool.map(run, range(size)))

    return call


def files_of(domain: Domain, folder: Path, broken: Sequence[int]) -> ImageFiles:
    """Ten files, of which the `broken` ones cannot be read."""
    files = list(domain.files[:10])
    for number in broken:
        path = folder / f"{number}.png"
        path.write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
        files[number] = ImageFile(path.parent, path.name)
    return ImageFiles(files)


@pytest.mark.parametrize("broken", [(), (0,), (4,), (9,), (2, 3, 8), tuple(range(10))])
@pytest.mark.parametrize("size", [2, 3])
def test_processes_together_make_the_batches_of_one(
    size: int,
    broken: tuple[int, ...],
    domains: list[Domain],
    tmp_path: Path,
    in_threads: Callable[..., list[Any]],
) -> None:
    files, preprocessing = files_of(domains[0], tmp_path, broken), Preprocessing.of(DataSettings(image_size=8), Depth())
    alone: list[Skipped] = []
    expected = [batch.files for batch in read_batches(files, preprocessing, batch_size=2, workers=0, skipped=alone)]

    def work() -> tuple[list[Any], list[str]]:
        skipped: list[Skipped] = []
        turns = list(dealt(files, preprocessing, batch_size=2, workers=0, skipped=skipped))
        return [(turn.own and turn.own.files, turn.batches) for turn in turns], [item.path for item in skipped]

    found = in_threads(size, work)
    counts = [batches for _, batches in found[0][0]]
    assert sum(counts) == len(expected)
    dealt_back = [own[0] for turn in zip(*(turns for turns, _ in found), strict=True) for own in turn if own[0]]
    assert dealt_back == expected
    for turns, skipped in found:
        assert [batches for _, batches in turns] == counts
        assert sorted(skipped) == sorted(item.path for item in alone)
