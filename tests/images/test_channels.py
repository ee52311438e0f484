"""Decoded pixels are red, green and blue; what the network sees of them is a matter of its input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Preprocessing, to_pixels
from gformer_cli.settings import DataSettings

MEAN, STD = (0.1, 0.2, 0.3), (0.5, 0.25, 2.0)
CPU = torch.device("cpu")


def _of(channels: str) -> Preprocessing:
    return Preprocessing(8, "stretch", MEAN, STD, channels=channels)


def _pixels() -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _normalised(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([(images[:, i] - MEAN[i]) / STD[i] for i in range(3)], dim=1)


def test_blue_comes_first_with_the_first_mean() -> None:
    expected = _normalised(_pixels()[:, [2, 1, 0]].float() / 255.0)
    torch.testing.assert_close(_of("bgr").network_input(_pixels(), CPU), expected)


def test_grey_is_pillows_in_every_colour() -> None:
    """Of one image with each combination of 64 levels of red, green and blue."""
    levels = np.stack(np.meshgrid(*[np.arange(1, 256, 4)] * 3), axis=-1).reshape(512, 512, 3).astype(np.uint8)
    grey = torch.from_numpy(np.array(Image.fromarray(levels).convert("L")))
    pixels = torch.from_numpy(levels).permute(2, 0, 1)[None]
    found = Preprocessing(512, "stretch", (0.0,) * 3, (1.0,) * 3, channels="grey").network_input(pixels, CPU)
    assert torch.equal(found, (grey.float() / 255.0).expand(1, 3, 512, 512))


def test_images_of_shifts_and_decoded_ones_become_the_same_grey() -> None:
    grey = _of("grey")
    assert torch.equal(grey.normalise(_pixels().float() / 255.0), grey.network_input(_pixels(), CPU))


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_pixels_come_back_from_the_input(channels: str) -> None:
    made = _of(channels)
    inputs = made.network_input(_pixels(), CPU)
    assert torch.equal(made.pixels(inputs), _pixels())
    assert torch.equal(made.pixels(inputs[1]), _pixels()[1])
    torch.testing.assert_close(made.images(inputs), _pixels().float() / 255.0)


def test_from_grey_grey_comes_back() -> None:
    grey = _of("grey")
    seen = grey.pixels(grey.network_input(_pixels(), CPU))
    assert torch.equal(seen, seen[:, :1].expand_as(seen))
    assert torch.equal(grey.network_input(seen, CPU), grey.network_input(_pixels(), CPU))


@pytest.mark.parametrize("channels", ["bgr", "grey"])
def test_decoded_pixels_stay_red_green_and_blue(channels: str) -> None:
    assert to_pixels(Image.new("RGB", (8, 8), (1, 2, 3)), _of(channels))[:, 0, 0].tolist() == [1, 2, 3]


def test_every_setting_of_the_pixels_is_taken_over() -> None:
    told = {
        **{"image_size": 32, "resize": "pad", "resize_size": 36, "centre_rounding": "down", "fill": (1, 2, 3)},
        **{"interpolation": "bicubic", "antialias": False, "channels": "bgr", "mean": MEAN, "std": STD},
        **{"reading": "plain", "reduced_jpeg": False},
    }
    assert told.keys() == DataSettings.model_fields.keys() - {"white_level", "validation_fraction"}
    depth = Depth(4095.0)
    made = Preprocessing.of(DataSettings.model_validate(told), depth)
    assert {name: getattr(made, name) for name in told} == told
    assert made.depth is depth
