from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from gformer_cli.data.folders import Domain, Layout, find_domains
from gformer_cli.data.streams import stationary


@pytest.fixture
def make_domain(tmp_path: Path) -> Callable[[Sequence[str]], Domain]:
    """Twelve images `0.png` to `11.png`, in the class folders that the labels name."""

    def make(labels: Sequence[str]) -> Domain:
        root = tmp_path / "-".join(labels) / "camera"
        for number, label in enumerate(labels):
            (root / label).mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(root / label / f"{number}.png")
        (domain,) = find_domains([root], Layout.domain)
        return domain

    return make


def test_relabelling_images_changes_no_order(make_domain: Callable[[Sequence[str]], Domain]) -> None:
    before, after = make_domain(["a", "b", "c"] * 4), make_domain(["c", "c", "a", "b"] * 3)
    assert [file.label for file in stationary(before, 0)] != [file.label for file in stationary(after, 0)]
    names = [[file.path.name for file in stationary(domain, 0)] for domain in (before, after)]
    assert names[0] == names[1] and sorted(names[0]) == sorted(f"{number}.png" for number in range(12))


def test_the_seed_chooses_the_order(make_domain: Callable[[Sequence[str]], Domain]) -> None:
    domain = make_domain(["a", "b"] * 6)
    orders = [[file.path.name for file in stationary(domain, seed)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
