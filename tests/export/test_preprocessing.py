"""Resizing in tensors gives the pixels that Pillow gives, but for rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gformer_cli.errors import InputError
from gformer_cli.export.check import compare_pixels
from gformer_cli.export.model import GraphModel
from gformer_cli.export.preprocessing import Resized
from gformer_cli.export.running import Running
from gformer_cli.export.samples import Samples, made_images
from gformer_cli.export.write import export
from gformer_cli.images.preprocessing import Preprocessing, to_pixels
from tests.export.conftest import Made

SIZES = ((100, 80), (53, 37), (37, 40), (32, 32), (31, 8), (120, 33), (3, 2), (1, 1))
"""Width and height. Where Pillow takes the axes in another order, what it rounds in between is other pixels."""
WAYS: list[dict[str, Any]] = [
    {"resize": "crop"},
    {"resize": "crop", "interpolation": "bicubic"},
    {"resize": "crop", "resize_size": 40},
    {"resize": "crop", "resize_size": 41, "centre_rounding": "down", "interpolation": "bicubic"},
    {"resize": "crop", "resize_size": 21, "fill": (10, 20, 30)},
    {"resize": "stretch", "resize_size": 36},
    {"resize": "pad", "fill": (9, 8, 7)},
    {"resize": "pad", "resize_size": 41, "interpolation": "bicubic"},
]


def picture(width: int, height: int) -> Image.Image:
    """Soft shapes under noise: of noise alone, a filter leaves grey."""
    random = np.random.default_rng(width * 1000 + height)
    coarse = random.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((soft + random.integers(-20, 20, soft.shape)).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_pixels_are_those_of_the_commands(way: dict[str, Any]) -> None:
    how = Preprocessing(image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, **way)
    differing = []
    for width, height in SIZES:
        image = picture(width, height)
        given = torch.from_numpy(np.array(image))[None]
        away = Resized(how)(given)[0] - to_pixels(image, how).float()
        assert away.abs().max() <= 2.0 and away.mean().abs() < 0.05, (width, height)
        differing.append(float((away != 0.0).float().mean()))
    assert sum(differing) / len(differing) < 0.1


def test_taller_images_differ_by_rounding_alone() -> None:
    how = Preprocessing(image_size=32, resize="crop", mean=(0.5,) * 3, std=(0.5,) * 3)
    image = picture(37, 300)
    away = Resized(how)(torch.from_numpy(np.array(image))[None])[0] - to_pixels(image, how).float()
    assert away.abs().max() <= 2.0 and away.mean().abs() < 0.05


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"interpolation": "lanczos"}, "wants lanczos"), ({"antialias": False}, "wants bilinear without antialias")],
)
def test_filters_that_are_not_made_are_refused(changes: dict[str, Any], what: str) -> None:
    how = Preprocessing(image_size=32, resize="crop", mean=(0.5,) * 3, std=(0.5,) * 3, **changes)
    with pytest.raises(InputError, match=what):
        Resized(how)


def test_a_file_takes_images_of_any_size(made: Made, _bundle_file: Path, tmp_path: Path) -> None:
    out, bundle = tmp_path / "m.onnx", made.bundle
    pixels = made_images(bundle, 3, any_size=True)
    assert pixels.shape == (3, 3, 13, 16)
    done = export(_bundle_file, bundle, out, "source", pixels, prepares=True)
    assert done.resized == compare_pixels(bundle, "source", Samples.of(bundle, pixels, prepares=True))
    assert done.resized is not None and done.resized.most <= 1 and done.resized.labels == 0
    running = Running(out, 1)
    for width, height in ((8, 8), (30, 9), (11, 25)):
        images = [picture(width, height), picture(width, height).rotate(180)]
        found = running(torch.from_numpy(np.stack([np.array(image) for image in images])))["logits"]
        own = torch.stack([to_pixels(image, bundle.preprocessing) for image in images])
        wanted = bundle.backbone(bundle.preprocessing.network_input(own, torch.device("cpu")))
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)
    with pytest.raises(InputError, match="holds the source model alone"):
        GraphModel(out, threads=1)
