from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from gformer_cli.data.inventory import Facts
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.shared import SharedImages
from gformer_cli.folders.domains import ImageFiles
from gformer_cli.images.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(4, "crop", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def domain(name: str, kept: list[bool]) -> LabelledDomain:
    pixels = [torch.randint(0, 256, (3, 4, 4), dtype=torch.uint8) if there else None for there in kept]
    count = len(kept)
    return LabelledDomain(name, ImageFiles(), Facts(), torch.arange(count), range(count), [], PREPROCESSING, pixels)


def test_what_another_process_opens_is_what_was_written(tmp_path: Path) -> None:
    domains = [domain("a", [True, False, True]), domain("b", [True])]
    with SharedImages.of(domains, tmp_path / "below" / "pixels.bin") as shared:
        opened = pickle.loads(pickle.dumps(shared)).open()
        assert (tmp_path / "below" / "pixels.bin").stat().st_size == 3 * 3 * 4 * 4
        assert [one.name for one in opened] == ["a", "b"]
        for before, after in zip(domains, opened, strict=True):
            assert torch.equal(before.labels, after.labels) and before.train == after.train
            for one, two in zip(before.cached, after.cached, strict=True):
                assert (one is None) == (two is None)
                assert one is None or (two is not None and torch.equal(one, two))
        assert torch.equal(opened[0].pixels([0, 2]), domains[0].pixels([0, 2]))


@pytest.mark.parametrize("kept", [[False, False], []])
def test_domains_that_keep_nothing_share_nothing(tmp_path: Path, kept: list[bool]) -> None:
    with SharedImages.of([domain("a", kept)], tmp_path / "pixels.bin") as shared:
        assert shared.open()[0].cached == [None] * len(kept)


def test_the_file_goes_with_the_block_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="broken"), SharedImages.of([domain("a", [True])], tmp_path / "pixels.bin"):
        raise ValueError("broken")
    assert list(tmp_path.iterdir()) == []
