"""The network's input is what the owner's own code makes: of real photographs, by torchvision, timm, transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms import functional

from gformer_cli.folders.domains import ImageFile
from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Decoded, Preprocessing, read_image
from gformer_cli.importing.transforms import (
    Transform,
    from_mapping,
    from_preprocessor,
    from_timm,
    from_torchvision,
)
from gformer_cli.settings import DataSettings

pytestmark = pytest.mark.filterwarnings("ignore:Palette images:UserWarning")  # the owner's conversion, as it comes

TORCHVISION = (
    *("ResNet50_Weights.IMAGENET1K_V1", "ResNet50_Weights.IMAGENET1K_V2", "ConvNeXt_Tiny_Weights.IMAGENET1K_V1"),
    *("ViT_B_16_Weights.IMAGENET1K_V1", "MobileNet_V2_Weights.IMAGENET1K_V2", "EfficientNet_B0_Weights.IMAGENET1K_V1"),
)
TIMM = (
    *("resnet50.a1_in1k", "efficientnet_lite0.ra_in1k", "resnet50_gn.a1h_in1k", "vit_base_patch16_224.augreg_in1k"),
    *("cspdarknet53.ra_in1k", "coatnet_rmlp_2_rw_224.sw_in1k"),
)
SPREAD = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25)}
EXACT = 1e-5
"""Of a level, 1/255: what float32 may lose in normalising."""


def _ours(path: Path, transform: Transform) -> torch.Tensor:
    """(3, S, S), normalised."""
    preprocessing = Preprocessing.of(DataSettings(**transform.changes), Depth())
    item = read_image(ImageFile(path.parent, path.name), preprocessing)
    assert isinstance(item, Decoded), item
    return preprocessing.network_input(item.pixels[None], torch.device("cpu"))[0]


def _differences(files: list[Path], transform: Transform, theirs: Callable[[Image.Image], Any]) -> tuple[float, float]:
    """The largest difference of a pixel, and the largest mean of an image, where black is 0 and white is 1."""
    std = torch.tensor(transform.changes["std"]).view(3, 1, 1)
    worst, mean = 0.0, 0.0
    for path in files:
        with Image.open(path) as image:
            expected = torch.as_tensor(theirs(image.convert("RGB")))
        found = _ours(path, transform)
        assert found.shape == expected.shape, path
        difference = ((found - expected) * std).abs()
        worst, mean = max(worst, difference.max().item()), max(mean, difference.mean().item())
    return worst, mean


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(photographs: list[Path], name: str) -> None:
    preset = models.get_weight(name).transforms()
    assert _differences(photographs, from_torchvision(preset), preset)[0] < EXACT


@pytest.mark.parametrize("name", TIMM)
def test_timm(photographs: list[Path], name: str) -> None:
    timm = pytest.importorskip("timm")
    cfg = timm.get_pretrained_cfg(name).to_dict()
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=cfg))
    assert _differences(photographs, from_timm(cfg), theirs)[0] < EXACT


@pytest.mark.parametrize("share", [0.875, 1.0, 1.2])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_every_mode_of_timm(photographs: list[Path], mode: str, share: float) -> None:
    timm = pytest.importorskip("timm")
    cfg = {"input_size": (3, 65, 65), "crop_mode": mode, "crop_pct": share, "interpolation": "bicubic", **SPREAD}
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=cfg))
    assert _differences(photographs, from_timm(cfg), theirs)[0] < EXACT


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_tensors_that_are_resized_without_antialias(photographs: list[Path], interpolation: str) -> None:
    cfg = {"resize": 36, "crop": 32, "interpolation": interpolation, "antialias": False, **SPREAD}

    def theirs(image: Image.Image) -> torch.Tensor:
        mode = functional.InterpolationMode(interpolation)
        pixels = functional.resize(functional.pil_to_tensor(image), [36], mode, antialias=False)
        values = functional.center_crop(pixels, [32]).float() / 255.0
        return functional.normalize(values, list(SPREAD["mean"]), list(SPREAD["std"]))

    assert _differences(photographs, from_mapping(cfg, origin="site.json"), theirs)[0] < EXACT


@pytest.mark.parametrize("channels", ["bgr", "grey"])
def test_channels_of_the_owner(photographs: list[Path], channels: str) -> None:
    cfg = {"resize": [32, 32], "channels": channels, **SPREAD}

    def theirs(image: Image.Image) -> torch.Tensor:
        image = image.resize((32, 32), Image.Resampling.BILINEAR)
        if channels == "grey":
            values = functional.to_tensor(image.convert("L")).expand(3, 32, 32)
        else:
            values = functional.to_tensor(image)[[2, 1, 0]]
        return functional.normalize(values, list(SPREAD["mean"]), list(SPREAD["std"]))

    assert _differences(photographs, from_mapping(cfg, origin="site.json"), theirs)[0] < EXACT


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ViT", {"size": {"height": 64, "width": 64}, "resample": 2}),
        ("ViT", {"size": {"height": 64, "width": 64}, "resample": 3, "rescale_factor": 1 / 127.5}),
        ("ViT", {"size": {"height": 32, "width": 32}, "resample": 2, "do_normalize": False}),
        ("ViT", {"size": {"height": 32, "width": 32}, "do_rescale": False, "image_mean": [99.0] * 3}),
        ("ConvNext", {"size": {"shortest_edge": 64}, "resample": 3, "crop_pct": 0.875}),
        ("ConvNext", {"size": {"shortest_edge": 65}, "resample": 2, "crop_pct": 0.9}),
        ("ConvNext", {"size": {"shortest_edge": 384}, "resample": 2}),
        # without do_convert_rgb: some releases lay white behind what Pillow's own conversion left transparent
        ("Bit", {"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}, "do_convert_rgb": False}),
        ("DeiT", {"size": {"height": 73, "width": 73}, "crop_size": {"height": 64, "width": 64}}),
    ],
)
def test_transformers(photographs: list[Path], name: str, options: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    plain = getattr(transformers, f"{name}ImageProcessor")
    processor = getattr(transformers, f"{name}ImageProcessorPil", plain)(**options)

    def theirs(image: Image.Image) -> np.ndarray[Any, Any]:
        made: np.ndarray[Any, Any] = processor(image, return_tensors="np")["pixel_values"][0]
        return made

    assert _differences(photographs, from_preprocessor(processor.to_dict()), theirs)[0] < EXACT


def test_transformers_on_tensors_differs_by_no_more_than_a_level(photographs: list[Path]) -> None:
    """Its processors come in two kinds, for Pillow's images and for tensors, which do not agree to the pixel."""
    transformers = pytest.importorskip("transformers")
    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64}, resample=2)
    worst, mean = _differences(
        photographs,
        from_preprocessor(processor.to_dict()),
        lambda image: processor(image, return_tensors="pt")["pixel_values"][0],
    )
    assert worst < 1 / 255 + EXACT
    assert mean < 1e-3


def test_a_reduced_jpeg_is_another_image(photographs: list[Path]) -> None:
    """So the settings of an import say that JPEGs are decoded in full."""
    preset = models.get_weight("ResNet50_Weights.IMAGENET1K_V1").transforms()
    whole = from_torchvision(preset)
    reduced = Transform({**whole.changes, "reduced_jpeg": True}, whole.origin)
    assert _differences(photographs[-2:], reduced, preset)[0] > 1 / 255
