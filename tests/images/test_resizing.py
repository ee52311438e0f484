"""Images of any size become square: by hand for each way, each interpolation, each rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from gformer_cli.images.preprocessing import Preprocessing, Skipped, read_image
from gformer_cli.images.resizing import Resizing, resized
from gformer_cli.settings import DataSettings

WAYS = ("crop", "stretch", "pad")


def _noise(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def _columns(width: int, height: int = 8) -> Image.Image:
    """Each column's red is its position."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[..., 0] = np.arange(width)
    return Image.fromarray(pixels)


def _red(image: Image.Image) -> list[int]:
    """Of the middle row."""
    found: list[int] = np.asarray(image)[image.height // 2, :, 0].tolist()
    return found


def _same(one: Image.Image, other: Image.Image) -> bool:
    return np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("size", [(8, 8), (5, 9), (40, 3), (1, 1), (37, 64)])
def test_without_a_size_to_resize_to_it_is_one_step_as_ever(size: tuple[int, int]) -> None:
    image = _noise(size)
    assert _same(resized(image, Resizing(8, "crop")), ImageOps.fit(image, (8, 8), Image.Resampling.BILINEAR))
    assert _same(resized(image, Resizing(8, "stretch")), image.resize((8, 8), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("resize_size", [None, 8, 12, 17])
@pytest.mark.parametrize("size", [(12, 12), (5, 9), (40, 3), (1, 1), (1, 30)])
def test_the_result_has_the_wanted_size(way: str, resize_size: int | None, size: tuple[int, int]) -> None:
    assert resized(_noise(size), Resizing(12, way, resize_size=resize_size)).size == (12, 12)


def test_the_shorter_side_is_resized_and_the_centre_kept() -> None:
    assert _red(resized(_columns(16), Resizing(4, "crop", resize_size=8))) == [6, 7, 8, 9]


def test_stretching_resizes_both_sides_before_the_crop() -> None:
    image = _noise((30, 11))
    whole = image.resize((12, 12), Image.Resampling.BILINEAR)
    assert _same(resized(image, Resizing(8, "stretch", resize_size=12)), whole.crop((2, 2, 10, 10)))


@pytest.mark.parametrize(("rounding", "first"), [("even", 2), ("down", 1)])
def test_half_a_pixel_goes_where_the_rounding_says(rounding: str, first: int) -> None:
    made = resized(_columns(11), Resizing(8, "crop", resize_size=8, centre_rounding=rounding))
    assert _red(made) == list(range(first, first + 8))


def test_what_lacks_of_the_crop_is_filled() -> None:
    made = np.asarray(resized(Image.new("RGB", (8, 8), "red"), Resizing(11, "crop", resize_size=8, fill=(1, 2, 3))))
    assert made[0, 0].tolist() == made[-1, -1].tolist() == [1, 2, 3]
    inside = (made == (255, 0, 0)).all(axis=-1)
    assert np.flatnonzero(inside.any(axis=0)).tolist() == list(range(1, 9))
    assert np.flatnonzero(inside.any(axis=1)).tolist() == list(range(1, 9))


@pytest.mark.parametrize("resize_size", [None, 8])
def test_padding_keeps_the_whole_image(resize_size: int | None) -> None:
    image = Image.new("RGB", (16, 8), "red")
    made = np.asarray(resized(image, Resizing(8, "pad", resize_size=resize_size, fill=(1, 2, 3))))
    assert made[:, 0].tolist() == [[1, 2, 3]] * 2 + [[255, 0, 0]] * 4 + [[1, 2, 3]] * 2
    assert (made == made[:, :1]).all()


def test_padding_before_a_crop_keeps_its_middle() -> None:
    image = Image.new("RGB", (24, 8), "red")
    made = np.asarray(resized(image, Resizing(8, "pad", resize_size=12)))
    assert made[:, 0, 0].tolist() == [0, 0, 255, 255, 255, 255, 0, 0]


@pytest.mark.parametrize("way", WAYS)
def test_every_interpolation_is_pillows_of_that_name(way: str) -> None:
    image = _noise((20, 20))
    made = {}
    for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
        made[name] = resized(image, Resizing(8, way, interpolation=name)).tobytes()
        assert made[name] == image.resize((8, 8), Image.Resampling[name.upper()]).tobytes()
    assert len(set(made.values())) == len(made)


def test_without_antialias_pixels_in_between_are_not_looked_at() -> None:
    rows = np.tile(np.array([0, 255, 255, 0], dtype=np.uint8), 8)
    stripes = Image.fromarray(np.broadcast_to(rows[:, None, None], (32, 32, 3)).copy())
    for name in ("nearest", "bilinear"):
        sampled = np.asarray(resized(stripes, Resizing(8, "crop", antialias=False, interpolation=name)))
        assert len(np.unique(sampled)) == 1 and sampled[0, 0, 0] in (0, 255)
    smooth = np.asarray(resized(stripes, Resizing(8, "crop")))[1:-1]
    assert abs(smooth.astype(int) - 128).max() < 60


def test_without_antialias_the_square_of_the_centre_is_what_is_sampled() -> None:
    made = resized(_columns(32, 16), Resizing(8, "crop", antialias=False, interpolation="nearest"))
    assert _red(made) == list(range(8, 24, 2))


@pytest.mark.parametrize("antialias", [True, False])
def test_an_image_that_would_become_a_giant_is_skipped(
    encode: Any, add_image: Any, as_file: Any, tmp_path: Path, antialias: bool
) -> None:
    path = add_image(tmp_path / "line.png", encode(Image.new("RGB", (60_000, 2))))
    how = Preprocessing(224, "crop", (0.5,) * 3, (0.5,) * 3, resize_size=256, antialias=antialias)
    found = read_image(as_file(path), how)
    assert found == Skipped("line.png", "too narrow: 60000 x 2 would be resized to 7680000 x 256")


def test_filters_that_tensors_have_none_of_need_antialias() -> None:
    with pytest.raises(ValueError, match=r"data\.interpolation box needs data\.antialias true"):
        DataSettings(interpolation="box", antialias=False)
