"""The images of a data set of drawings: which drawings, how many, and what is done to them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from gformer_cli.data.demo.digits import DemoImage
from gformer_cli.data.demo.drawn.picture_set import Drawing, PictureSet, on_paper, render
from gformer_cli.errors import InputError


def bar(name: str, family: str, empty: bool = False) -> Drawing:
    return Drawing(name, family, lambda side: None if empty else Image.new("L", (side, side // 2), 255))


FOUND = [*(bar(f"many-{number}", "many") for number in range(5)), bar("one", "few"), bar("none", "few", empty=True)]
SHAPES = PictureSet(
    name="shapes",
    sources={"a": {"bar": FOUND, "other": FOUND[:1]}, "b": {"bar": FOUND, "other": FOUND}},
    targets={"c": {"bar": FOUND, "other": FOUND}},
    per_source=8,
    per_target=3,
    licences=(),
)


def images(seed: int = 0, *, cameras: bool) -> list[DemoImage]:
    return list(render(SHAPES, seed, 24, cameras=cameras))


def test_with_cameras_every_class_has_all_its_images_and_no_two_are_equal() -> None:
    found = images(cameras=True)
    assert Counter((image.role, image.domain, image.label) for image in found) == {
        **{("sources", domain, label): 8 for domain in "ab" for label in ("bar", "other")},
        **{("targets", "c", label): 3 for label in ("bar", "other")},
    }
    assert len(found) == SHAPES.most_images(cameras=True) == 38
    assert len({image.pixels.tobytes() for image in found}) == len(found)
    assert len({(image.domain, image.label, image.name) for image in found}) == len(found)
    assert {image.pixels.shape for image in found} == {(24, 24, 3)}


def test_without_cameras_a_drawing_is_one_image() -> None:
    counts = Counter((image.domain, image.label) for image in images(cameras=False))
    assert counts == {
        ("a", "bar"): 6,
        ("a", "other"): 1,
        ("b", "bar"): 6,
        ("b", "other"): 6,
        ("c", "bar"): 3,
        ("c", "other"): 3,
    }
    assert SHAPES.most_images(cameras=False) == 28  # one of "few" is none, three times; it is not known before


def test_families_take_turns_and_an_image_is_called_after_its_drawing() -> None:
    names = [image.name for image in images(cameras=True) if (image.domain, image.label) == ("a", "bar")]
    assert names[0].startswith("000-") and names[7].startswith("007-")
    assert "one" in (names[0][4:], names[1][4:])
    assert sorted(name[4:] for name in names[:6]) == [*(f"many-{number}" for number in range(5)), "one"]
    assert [name[4:] for name in names[6:]] == [name[4:] for name in names[:2]]


@pytest.mark.parametrize("cameras", [True, False])
def test_the_seed_alone_fixes_names_and_pixels(cameras: bool) -> None:
    def told(seed: int) -> list[tuple[str, bytes]]:
        return [(image.name, image.pixels.tobytes()) for image in images(seed, cameras=cameras)]

    assert told(0) == told(0) != told(1)


def test_a_picture_lies_on_white_paper_in_the_middle_and_a_shape_is_black() -> None:
    seen = on_paper(Image.new("L", (40, 20), 255), 50)
    dark = np.argwhere(seen.max(axis=2) < 0.5)
    assert (dark.min(axis=0).tolist(), dark.max(axis=0).tolist()) == ([14, 3], [35, 46])
    assert set(np.unique(seen)) == {0.0, 1.0}
    half = Image.new("RGBA", (10, 10), (255, 0, 0, 128))
    assert np.allclose(on_paper(half, 50)[25, 25], [1.0, 127 / 255, 127 / 255], atol=0.01)


def test_a_class_without_a_drawing_is_named() -> None:
    with pytest.raises(InputError, match="shapes: the packages have no drawing of 'moon' for domain 'a'"):
        PictureSet("shapes", {"a": {"sun": FOUND, "moon": []}}, {}, 1, 1, ())
