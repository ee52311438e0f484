"""What a description of preprocessing means in the settings' terms, and which descriptions are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torchvision import models
from torchvision.transforms import InterpolationMode, _presets

from gformer_cli.errors import InputError
from gformer_cli.importing.transforms import (
    Transform,
    from_preprocessor,
    from_timm,
    from_torchvision,
    read_transform,
)
from gformer_cli.settings import DataSettings

OWN: Mapping[str, Any] = {"resize": 36, "crop": 32, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
TIMM: Mapping[str, Any] = {
    "input_size": [3, 64, 64],
    "interpolation": "bilinear",
    "crop_pct": 0.9,
    "mean": [0.4, 0.5, 0.6],
    "std": [0.2, 0.3, 0.25],
}
VIT: Mapping[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 64, "width": 64},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
}
CONVNEXT: Mapping[str, Any] = {
    **VIT,
    "image_processor_type": "ConvNextImageProcessor",
    "size": {"shortest_edge": 224},
    "crop_pct": 0.875,
}
CROPPED: Mapping[str, Any] = {
    **VIT,
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 73},
    "do_center_crop": True,
    "crop_size": {"height": 64, "width": 64},
}


def _read(tmp_path: Path, content: object, name: str = "site.json", **options: Any) -> Transform:
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_transform(str(path), backbone="resnet18", **options)


def _has(transform: Transform, **fields: Any) -> bool:
    return {name: transform.changes[name] for name in fields} == fields


def test_a_transform_sets_every_field_that_decides_on_pixels(tmp_path: Path) -> None:
    changes = _read(tmp_path, OWN).changes
    assert changes.keys() == DataSettings.model_fields.keys() - {"white_level", "validation_fraction"}
    assert changes == {
        **{"image_size": 32, "resize": "crop", "resize_size": 36, "centre_rounding": "even"},
        **{"interpolation": "bilinear", "antialias": True, "fill": (0, 0, 0), "channels": "rgb"},
        **{"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25), "reading": "plain", "reduced_jpeg": False},
    }


@pytest.mark.parametrize(
    ("changed", "fields"),
    [
        ({"interpolation": "bicubic"}, {"interpolation": "bicubic"}),
        ({"interpolation": "lanczos"}, {"interpolation": "lanczos"}),
        ({"antialias": False}, {"antialias": False}),
        ({"channels": "bgr"}, {"channels": "bgr"}),
        ({"channels": "grey"}, {"channels": "grey"}),
        ({"reading": "upright"}, {"reading": "upright", "reduced_jpeg": False}),
        ({"pad": True, "fill": [1, 2, 3]}, {"resize": "pad", "resize_size": 36, "fill": (1, 2, 3)}),
        ({"resize": [36, 36]}, {"resize": "stretch", "resize_size": 36, "image_size": 32}),
        ({"resize": [36]}, {"resize": "crop", "resize_size": 36}),
        ({"crop": [32, 32]}, {"image_size": 32}),
        ({"resize": None, "crop_pct": 0.875}, {"resize": "crop", "resize_size": 36, "image_size": 32}),
        ({"mean": 0.5, "std": [0.25]}, {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}),
    ],
)
def test_each_key_of_a_file_has_its_effect(tmp_path: Path, changed: dict[str, Any], fields: dict[str, Any]) -> None:
    assert _has(_read(tmp_path, {**OWN, **changed}), **fields)


def test_without_a_crop_the_input_is_what_images_are_resized_to(tmp_path: Path) -> None:
    content = {key: value for key, value in OWN.items() if key != "crop"}
    assert _has(_read(tmp_path, content), image_size=36, resize_size=36)
    assert _has(_read(tmp_path, content, image_size=32), image_size=32, resize_size=36)


def test_the_origin_is_the_name_of_the_file_without_its_place(tmp_path: Path) -> None:
    assert _read(tmp_path, OWN).origin == "site.json"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({**OWN, "interpolatoin": "bicubic"}, "unknown key: 'interpolatoin'"),
        ({**OWN, "interpolation": "cubic"}, "unknown interpolation: 'cubic'"),
        ({**OWN, "crop": [32, 48]}, "crop is [32, 48], and networks take square images"),
        ({**OWN, "resize": [36, 48]}, "resize is [36, 48], and networks take square images"),
        ({**OWN, "resize": True}, "resize is True, which is no length"),
        ({**OWN, "resize": "36"}, "resize is '36', which is no length"),
        ({**OWN, "crop": 0}, "crop is 0, which is no length"),
        ({**OWN, "crop": 10**400, "resize": None, "crop_pct": 0.9}, "which is no length"),
        ({**OWN, "mean": 10**400}, "which are no numbers"),
        ({**OWN, "mean": float("nan")}, "which are no numbers"),
        ({**OWN, "crop": 9000}, "image_size: it must be less than or equal to 1024"),
        ({**OWN, "crop_pct": 0.875}, "it gives resize and crop_pct"),
        ({**OWN, "resize": None}, "it does not say what images are resized to"),
        ({**OWN, "resize": None, "crop_pct": 0}, "crop_pct is 0, which is no share"),
        ({**OWN, "mean": [0.1, 0.2, 0.3, 0.4]}, "mean has 4 values"),
        ({**OWN, "mean": ["0.1", 0.2, 0.3]}, "which are no numbers"),
        ({**OWN, "std": [0.1, 0.2, 0.0]}, "std.2: it must be greater than"),
        ({"resize": 36, "crop": 32, "std": [1, 1, 1]}, "it does not say mean"),
        ({**OWN, "pad": "yes"}, "pad is 'yes'"),
        ({**OWN, "pad": True, "resize": [36, 36]}, "pad and a resize of both sides exclude each other"),
        ({**OWN, "channels": "gbr"}, "channels: it must be 'rgb', 'bgr' or 'grey'"),
        ({**OWN, "antialias": False, "interpolation": "lanczos"}, "data.interpolation lanczos needs data.antialias"),
        ([OWN], "does not hold a mapping"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, content: object, told: str) -> None:
    with pytest.raises(InputError, match=r"site\.json") as caught:
        _read(tmp_path, content)
    assert told in caught.value.message
    assert caught.value.hint


def test_a_slip_of_the_keyboard_is_met_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        _read(tmp_path, {**OWN, "interpolatoin": "bicubic"})
    assert "'interpolation'" in caught.value.hint


@pytest.mark.parametrize("content", [OWN, VIT])
def test_another_size_than_the_file_says_is_refused(tmp_path: Path, content: Mapping[str, Any]) -> None:
    with pytest.raises(InputError, match="pixels, not 48"):
        _read(tmp_path, content, image_size=48)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        read_transform(str(tmp_path / "none.json"), backbone="resnet18")


def test_any_other_word_is_told_what_there_is() -> None:
    with pytest.raises(InputError, match="unknown transform: 'torchvison'") as caught:
        read_transform("torchvison", backbone="resnet18")
    assert "torchvision, timm" in caught.value.hint


def test_torchvision_is_the_transform_of_the_default_weights() -> None:
    found = read_transform("torchvision", backbone="resnet50")
    wanted = from_torchvision(
        models.ResNet50_Weights.DEFAULT.transforms(), origin="torchvision ResNet50_Weights.IMAGENET1K_V2"
    )
    assert (found.changes, found.origin) == (wanted.changes, wanted.origin)
    assert _has(found, image_size=224, resize="crop", resize_size=232, mean=(0.485, 0.456, 0.406), reading="plain")


def test_for_another_size_torchvisions_resizing_changes_in_proportion() -> None:
    found = read_transform("torchvision", backbone="resnet18", image_size=63)
    assert _has(found, image_size=63, resize_size=72)


def test_a_preset_of_the_owners_own() -> None:
    preset = _presets.ImageClassification(
        crop_size=64, resize_size=72, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation=InterpolationMode.BICUBIC
    )
    assert _has(from_torchvision(preset), image_size=64, resize_size=72, interpolation="bicubic", std=(0.4, 0.5, 0.6))


def test_a_preset_of_another_task_is_refused() -> None:
    with pytest.raises(InputError, match="ObjectDetection is no transform for image classification"):
        from_torchvision(_presets.ObjectDetection())


@pytest.mark.parametrize("backbone", ["timm:resnet18", "networks.py:make", "nothing"])
def test_torchvision_has_nothing_for_other_networks(backbone: str) -> None:
    with pytest.raises(InputError, match="torchvision has no weights") as caught:
        read_transform("torchvision", backbone=backbone)
    assert "FILE.json" in caught.value.hint


def test_timm_is_the_transform_of_its_weights() -> None:
    timm = pytest.importorskip("timm")
    found = read_transform("timm", backbone="timm:resnet50_gn.a1h_in1k")
    cfg = timm.get_pretrained_cfg("resnet50_gn.a1h_in1k").to_dict()
    assert found == from_timm(cfg, origin="timm resnet50_gn.a1h_in1k")
    assert _has(found, image_size=224, resize="crop", resize_size=238, interpolation="bicubic")
    assert _has(read_transform("timm", backbone="timm:resnet50_gn.a1h_in1k", image_size=64), resize_size=68)


@pytest.mark.parametrize("backbone", ["resnet18", "timm:nothing", "timm:resnet18.of_nobody"])
def test_timm_has_nothing_for_other_networks(backbone: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"and (so|has) no transform"):
        read_transform("timm", backbone=backbone)


@pytest.mark.parametrize("nested", [False, True])
def test_a_configuration_of_timm_is_known_by_its_keys(tmp_path: Path, nested: bool) -> None:
    content = {"architecture": "resnet18", "pretrained_cfg": TIMM} if nested else TIMM
    found = _read(tmp_path, content, "config.json")
    assert found == from_timm(TIMM, origin="config.json")
    assert _has(found, image_size=64, resize="crop", resize_size=71, interpolation="bilinear", centre_rounding="even")


def test_an_architecture_alone_does_not_say_how_images_are_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pretrained_cfg"):
        _read(tmp_path, {"architecture": "resnet18", "num_classes": 8}, "config.json")


def test_what_timm_takes_for_granted() -> None:
    found = from_timm({})
    assert _has(found, image_size=224, resize="crop", resize_size=256, interpolation="bicubic")
    assert _has(found, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def test_modes_of_timm() -> None:
    assert _has(from_timm({**TIMM, "crop_mode": "squash"}), resize="stretch", resize_size=71, fill=(0, 0, 0))
    assert _has(from_timm({**TIMM, "crop_mode": "border"}), resize="pad", resize_size=71, fill=(102, 128, 153))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"input_size": [1, 64, 64]}, "its input has 1 channels"),
        ({"input_size": [3, 64, 48]}, "networks take square images"),
        ({"input_size": [64, 64]}, "input_size is"),
        ({"crop_mode": "corner"}, "unknown crop_mode: 'corner'"),
        ({"crop_mode": ["center"]}, "unknown crop_mode: \"['center']\""),
        ({"interpolation": "random"}, "unknown interpolation: 'random'"),
    ],
)
def test_a_configuration_of_timm_that_cannot_be_done_is_refused(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        from_timm({**TIMM, **changed})
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("cfg", "fields"),
    [
        (VIT, {"image_size": 64, "resize": "stretch", "resize_size": None, "interpolation": "bilinear"}),
        ({**VIT, "size": 64}, {"image_size": 64, "resize": "stretch"}),
        ({**VIT, "image_processor_type": None, "feature_extractor_type": None}, {"resize": "stretch"}),
        ({**VIT, "image_processor_type": "ViTImageProcessorFast"}, {"resize": "stretch"}),
        ({**VIT, "resample": 3}, {"interpolation": "bicubic"}),
        ({**VIT, "resample": 1}, {"interpolation": "lanczos"}),
        ({**VIT, "resample": "bicubic"}, {"interpolation": "bicubic"}),
        (CONVNEXT, {"image_size": 224, "resize": "crop", "resize_size": 256, "centre_rounding": "down"}),
        ({**CONVNEXT, "size": 224}, {"resize": "crop", "resize_size": 256}),
        ({**CONVNEXT, "size": {"shortest_edge": 65}, "crop_pct": 0.9}, {"image_size": 65, "resize_size": 72}),
        ({**CONVNEXT, "crop_pct": None}, {"resize_size": 256}),
        ({**CONVNEXT, "image_processor_type": None}, {"resize": "crop", "resize_size": 256}),
        ({**CONVNEXT, "size": {"shortest_edge": 384}}, {"image_size": 384, "resize": "stretch", "resize_size": None}),
        (CROPPED, {"image_size": 64, "resize": "crop", "resize_size": 73, "centre_rounding": "down"}),
        ({**CROPPED, "size": 73, "crop_size": 64}, {"image_size": 64, "resize": "crop", "resize_size": 73}),
        ({**CROPPED, "size": {"height": 73, "width": 73}}, {"image_size": 64, "resize": "stretch", "resize_size": 73}),
    ],
)
def test_sizes_of_a_preprocessor(cfg: dict[str, Any], fields: dict[str, Any]) -> None:
    assert _has(from_preprocessor(cfg), **fields)


@pytest.mark.parametrize(
    ("changed", "mean", "std"),
    [
        ({}, 0.5, 0.25),
        ({"rescale_factor": 0.00392156862745098}, 0.5, 0.25),
        ({"rescale_factor": 1 / 127.5}, 0.25, 0.125),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, 0.5, 0.2),
        ({"do_normalize": False}, 0.0, 1.0),
        ({"do_normalize": False, "rescale_factor": 1 / 127.5}, 0.0, 0.5),
        ({"do_normalize": False, "do_rescale": False}, 0.0, 1 / 255),
    ],
)
def test_the_scale_of_a_preprocessor_becomes_mean_and_std(changed: dict[str, Any], mean: float, std: float) -> None:
    found = from_preprocessor({**VIT, **changed}).changes
    assert found["mean"] == pytest.approx((mean,) * 3)
    assert found["std"] == pytest.approx((std,) * 3)


def test_a_preprocessor_is_known_by_its_keys(tmp_path: Path) -> None:
    assert _read(tmp_path, VIT, "preprocessor_config.json") == from_preprocessor(VIT)


@pytest.mark.parametrize(
    ("cfg", "told"),
    [
        ({**VIT, "image_processor_type": "LevitImageProcessor"}, "image processor LevitImageProcessor is not known"),
        ({**VIT, "size": {"height": 64, "width": 48}}, "networks take square images"),
        ({**VIT, "size": {"longest_edge": 64}}, "size is given by longest_edge"),
        ({**VIT, "size": {"shortest_edge": 64}}, "its inputs are not square"),
        ({**VIT, "size": None}, "size is None, which is no length"),
        ({**VIT, "do_resize": False}, "do_resize is false"),
        ({**VIT, "do_pad": True}, "do_pad is not among the things"),
        ({**VIT, "do_flip_channel_order": True}, "do_flip_channel_order is not among the things"),
        ({**VIT, "resample": None}, "it does not say how images are resized"),
        ({**VIT, "resample": 9}, "unknown interpolation: 9"),
        ({**VIT, "image_mean": None}, "it does not say image_mean"),
        ({**VIT, "image_mean": [0.5] * 4}, "image_mean has 4 values"),
        ({**VIT, "rescale_factor": 0}, "rescale_factor is 0"),
        ({**VIT, "rescale_factor": 10**400}, "which is no positive number"),
        ({**CROPPED, "crop_size": {"height": 64, "width": 48}}, "networks take square images"),
        ({**CONVNEXT, "do_center_crop": True, "crop_size": 200}, "it crops twice"),
        ({**CONVNEXT, "size": {"height": 64, "width": 64}}, "which is no length"),
    ],
)
def test_a_preprocessor_that_cannot_be_done_is_refused(cfg: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        from_preprocessor(cfg)
    assert told in caught.value.message
    assert caught.value.hint


def test_other_weights_of_torchvision_by_name() -> None:
    default = read_transform("torchvision", backbone="mobilenet_v2")
    first = read_transform("imagenet1k_v1", backbone="mobilenet_v2")
    assert (default.changes["resize_size"], first.changes["resize_size"]) == (232, 256)
    assert default.alternatives == ("IMAGENET1K_V1",) and first.alternatives == ("IMAGENET1K_V2",)
    assert read_transform("torchvision", backbone="resnet18").alternatives == ()


def test_a_name_that_the_backbone_does_not_have() -> None:
    with pytest.raises(InputError, match="there is no transform IMAGENET1K_V7 for mobilenet_v2") as told:
        read_transform("IMAGENET1K_V7", backbone="mobilenet_v2")
    assert "IMAGENET1K_V2" in told.value.hint
