"""Preprocessing as the transformers library describes it: a preprocessor_config.json. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gformer_cli.importing.stated import Transform, cannot, filter_name, share, side, three, transform


class _Processor(NamedTuple):
    """What one of the library's image processors takes for granted."""

    square: bool
    """Whether a single number is the length of both sides, not of the shorter one."""
    crops: bool


_PROCESSORS = {
    "ViT": _Processor(square=True, crops=False),
    "ConvNext": _Processor(square=False, crops=False),
    "DeiT": _Processor(square=True, crops=True),
    "Beit": _Processor(square=True, crops=False),
    "Bit": _Processor(square=False, crops=True),
    "CLIP": _Processor(square=False, crops=True),
    "Siglip": _Processor(square=False, crops=False),
    "MobileNetV1": _Processor(square=False, crops=True),
    "MobileNetV2": _Processor(square=False, crops=True),
}
_ENDINGS = ("ImageProcessorFast", "ImageProcessorPil", "ImageProcessor", "FeatureExtractor")
_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""In the order of the numbers that the library writes for them."""
_REFUSED = ("do_pad", "do_thumbnail", "do_align_long_axis", "do_flip_channel_order", "rescale_offset")
_WARPED = 384
"""From so many pixels on the ConvNeXt processor stretches images, and crops nothing."""


def from_preprocessor(
    cfg: Mapping[str, Any], *, origin: str = "preprocessor_config.json", image_size: int | None = None
) -> Transform:
    """What the image processor of a preprocessor_config.json does with images that Pillow has converted to RGB.

    The library resizes Pillow's images or tensors, by its release. This is the former to the pixel.

    Raises `InputError` for processors with arithmetic of their own, for inputs that are not square, for what the file
    does not say, and where `image_size` is not what it says.
    """
    name = _name(origin, cfg)
    for key in _REFUSED:
        if cfg.get(key):
            raise cannot(origin, f"{key} is not among the things that gformer does")
    if not cfg.get("do_resize", True):
        raise cannot(origin, "do_resize is false, and images of any size would reach the network")
    changes = _warped(origin, cfg) if name == "ConvNext" else _resized(origin, cfg, _PROCESSORS[name])
    if image_size not in (None, changes["image_size"]):
        raise cannot(
            origin, f"its images have {changes['image_size']} pixels, not {image_size}", "Leave the image size to it."
        )
    mean, std = _scale(origin, cfg)
    return transform(
        origin,
        {
            **changes,
            "centre_rounding": "down",
            "interpolation": _interpolation(origin, cfg),
            "mean": mean,
            "std": std,
        },
    )


def _name(origin: str, cfg: Mapping[str, Any]) -> str:
    stated = cfg.get("image_processor_type") or cfg.get("feature_extractor_type")
    if stated is None:
        return "ViT" if cfg.get("crop_pct") is None else "ConvNext"
    name = str(stated)
    for ending in _ENDINGS:
        name = name.removesuffix(ending)
    if name not in _PROCESSORS:
        raise cannot(origin, f"image processor {stated} is not known; those of {', '.join(_PROCESSORS)} are")
    return name


def _warped(origin: str, cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes as the ConvNeXt processor, which ResNets have as well, reads them."""
    size = cfg.get("size")
    length = side(origin, "size", size.get("shortest_edge", size) if isinstance(size, Mapping) else size)
    if cfg.get("do_center_crop") and _both(origin, "crop_size", cfg.get("crop_size")) != length:
        raise cannot(origin, "it crops twice, to different sizes")
    if length >= _WARPED:
        return {"image_size": length, "resize": "stretch", "resize_size": None}
    kept = share(origin, "crop_pct", cfg["crop_pct"] if cfg.get("crop_pct") is not None else 224 / 256)
    return {"image_size": length, "resize": "crop", "resize_size": int(length / kept)}


def _resized(origin: str, cfg: Mapping[str, Any], processor: _Processor) -> dict[str, Any]:
    """Sizes as most processors read them: a resizing, and perhaps a crop of the centre."""
    size = cfg.get("size")
    crops = cfg.get("do_center_crop")
    crop = _both(origin, "crop_size", cfg.get("crop_size")) if (processor.crops if crops is None else crops) else None
    if isinstance(size, Mapping) and set(size) == {"shortest_edge"}:
        square, size = False, size["shortest_edge"]
    elif isinstance(size, Mapping):
        square, size = True, _both(origin, "size", size)
    else:
        square = bool(cfg.get("default_to_square", processor.square)) or isinstance(size, list)
    length = side(origin, "size", size)
    if square:
        return {"image_size": crop or length, "resize": "stretch", "resize_size": length if crop else None}
    if crop is None:
        raise cannot(origin, "its inputs are not square: only the shorter side has a length, and nothing is cropped")
    return {"image_size": crop, "resize": "crop", "resize_size": length}


def _both(origin: str, name: str, size: object) -> int:
    """The length of both sides."""
    if not isinstance(size, Mapping):
        return side(origin, name, size)
    if set(size) != {"height", "width"}:
        raise cannot(origin, f"{name} is given by {', '.join(map(str, size)) or 'nothing'}, not by height and width")
    return side(origin, name, [size["height"], size["width"]])


def _interpolation(origin: str, cfg: Mapping[str, Any]) -> str:
    stated = cfg.get("resample")
    if stated is None:
        raise cannot(origin, "it does not say how images are resized (resample)", 'Add, for bilinear, "resample": 2.')
    if isinstance(stated, int) and 0 <= stated < len(_FILTERS):
        return _FILTERS[stated]
    return filter_name(origin, stated)


def _scale(origin: str, cfg: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of what is 0 for black and 1 for white."""
    factor = cfg.get("rescale_factor") if cfg.get("do_rescale", True) else 1.0
    factor = 1 / 255 if factor is None else factor
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 1e-9 <= factor <= 1e9:
        raise cannot(origin, f"rescale_factor is {factor!r}, which is no positive number")
    white = 1.0 if abs(255 * factor - 1) < 1e-9 else 255 * factor
    """What white is when the mean is subtracted."""
    if not cfg.get("do_normalize", True):
        return (0.0,) * 3, (1 / white,) * 3
    for name in ("image_mean", "image_std"):
        if cfg.get(name) is None:
            raise cannot(origin, f"it does not say {name}", "Add it, or do_normalize: false.")
    mean, std = (three(origin, name, cfg[name]) for name in ("image_mean", "image_std"))
    return tuple(value / white for value in mean), tuple(value / white for value in std)
