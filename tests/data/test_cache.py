from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.data import cache
from gformer_cli.data.cache import ImageCache
from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.preprocessing import Decoded, Preprocessing, Skipped

PREPROCESSING = Preprocessing(8, "stretch", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
BYTES = 3 * 8 * 8


@pytest.fixture
def files(tmp_path: Path) -> list[ImageFile]:
    """Five images of one grey each, and one that cannot be read."""
    found = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(path)
        found.append(ImageFile(path.parent, path.name, "a"))
    found[5].path.write_bytes(b"broken")
    return found


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from disk."""
    seen: list[str] = []
    original = cache.read_image

    def read(file: ImageFile, preprocessing: Preprocessing) -> Decoded | Skipped:
        seen.append(file.relative)
        return original(file, preprocessing)

    monkeypatch.setattr(cache, "read_image", read)
    return seen


@pytest.mark.parametrize("workers", [0, 3])
def test_images_come_in_order_and_are_decoded_once(files: list[ImageFile], decoded: list[str], workers: int) -> None:
    images = ImageCache(PREPROCESSING, workers=workers)
    for order in (files, files[::-1]):
        found = list(images.read(order))
        for file, item in zip(order, found, strict=True):
            if isinstance(item, Skipped):
                assert file is files[5] and item.reason == "not an image that Pillow can read"
            else:
                assert item.file is file and torch.equal(
                    item.pixels, torch.full_like(item.pixels, item.pixels[0, 0, 0])
                )
                assert int(item.pixels[0, 0, 0]) == 10 * int(file.path.stem)
    assert sorted(decoded) == [file.relative for file in files]


@pytest.mark.parametrize(("budget", "kept"), [(0, 0), (2 * BYTES, 2), (3 * BYTES - 1, 2), (9 * BYTES, 5)])
def test_no_more_is_kept_than_the_budget_allows(
    files: list[ImageFile], decoded: list[str], budget: int, kept: int
) -> None:
    images = ImageCache(PREPROCESSING, workers=0, budget=budget)
    first, second = (list(images.read(files[:5])) for _ in range(2))
    assert len(decoded) == 10 - kept
    for one, two in zip(first, second, strict=True):
        assert isinstance(one, Decoded) and isinstance(two, Decoded) and torch.equal(one.pixels, two.pixels)


def test_nothing_is_read_before_it_is_asked_for(files: list[ImageFile], decoded: list[str]) -> None:
    reads = ImageCache(PREPROCESSING, workers=0).read(iter(files))
    next(reads)
    assert decoded == ["0.png"]
