"""`--transform`: the preprocessing of a model that was trained elsewhere, in the settings' terms."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.files import read_text
from gformer_cli.importing.libraries import from_timm, from_torchvision, of_timm, of_torchvision
from gformer_cli.importing.preprocessor import from_preprocessor
from gformer_cli.importing.stated import EXAMPLE, Transform, cannot, filter_name, share, side, three, transform
from gformer_cli.weights.published import names_published

__all__ = ["Transform", "from_mapping", "from_preprocessor", "from_timm", "from_torchvision", "read_transform"]

_LIMIT = 1 << 20
"""Bytes of a file that describes preprocessing."""
_KEYS = (
    *("resize", "crop", "crop_pct", "pad", "fill", "interpolation", "antialias"),
    *("channels", "mean", "std", "reading"),
)
_OF_TIMM = ("pretrained_cfg", "input_size", "crop_mode", "architecture")
_OF_PREPROCESSOR = ("image_processor_type", "feature_extractor_type", "image_mean", "do_resize", "do_normalize")


def read_transform(text: str, *, backbone: str, image_size: int | None = None) -> Transform:
    """The preprocessing that `text` names.

    Args:
        text: `torchvision` or `timm`, for what the library publishes beside the backbone's default weights; the name of
            other weights of torchvision, such as `IMAGENET1K_V1`; else a FILE.json: gformer's own mapping, a timm
            `config.json` or `pretrained_cfg`, or a `preprocessor_config.json`.
        backbone: the network's name, as in `build_network`.
        image_size: height and width of the input; None for what the description says.

    Raises `InputError` for what is not there, cannot be read, or cannot be done.
    """
    if text == "torchvision":
        return of_torchvision(backbone, image_size)
    if text == "timm":
        return of_timm(backbone, image_size)
    if names_published(text):
        return of_torchvision(backbone, image_size, weights=text)
    path = Path(text)
    if path.suffix.lower() != ".json":
        raise InputError(
            f"unknown transform: {text!r}", "Give torchvision, timm, IMAGENET1K_V1 or another name, or a FILE.json."
        )
    return from_mapping(_read(path), origin=path.name, image_size=image_size)


def from_mapping(cfg: Mapping[str, Any], *, origin: str, image_size: int | None = None) -> Transform:
    """The preprocessing of a file's content, which is told by its keys: ours, timm's or a preprocessor's."""
    if any(key in cfg for key in _OF_PREPROCESSOR):
        return from_preprocessor(cfg, origin=origin, image_size=image_size)
    if any(key in cfg for key in _OF_TIMM):
        return from_timm(cfg, origin=origin, image_size=image_size)
    return _own(cfg, origin, image_size)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(read_text(path, _LIMIT))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}", "Give a FILE.json.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {str(error).splitlines()[0]}", f"Write it so: {EXAMPLE}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} does not hold a mapping", f"Write it so: {EXAMPLE}")
    return found


def _own(cfg: Mapping[str, Any], origin: str, image_size: int | None) -> Transform:
    for key in cfg:
        if key not in _KEYS:
            raise cannot(origin, f"unknown key: {key!r}", did_you_mean(str(key), _KEYS))
    for key in ("mean", "std"):
        if key not in cfg:
            raise cannot(origin, f"it does not say {key}", "Give it; [0, 0, 0] and [1, 1, 1] change nothing.")
    changes = _sizes(cfg, origin, image_size)
    changes |= {key: three(origin, key, cfg[key]) for key in ("mean", "std")}
    if "interpolation" in cfg:
        changes["interpolation"] = filter_name(origin, cfg["interpolation"])
    changes |= {key: cfg[key] for key in ("antialias", "fill", "channels", "reading") if key in cfg}
    return transform(origin, changes)


def _sizes(cfg: Mapping[str, Any], origin: str, image_size: int | None) -> dict[str, Any]:
    """Size, way and resizing. One number is the shorter side's length, or with `pad` the longer one's; two are both."""
    resize = cfg.get("resize")
    if resize is None and cfg.get("crop_pct") is None:
        raise cannot(origin, "it does not say what images are resized to", 'Give "resize", or "crop" and "crop_pct".')
    if resize is not None and cfg.get("crop_pct") is not None:
        raise cannot(origin, "it gives resize and crop_pct, which say the same", "Leave one out.")
    stated = cfg.get("crop", resize if image_size is None else image_size)
    if stated is None:
        raise cannot(origin, "it does not say the size of the input", 'Give "crop".')
    size = side(origin, "crop", stated)
    if image_size not in (None, size):
        raise cannot(origin, f"its images have {size} pixels, not {image_size}", "Leave the image size to it.")
    both = isinstance(resize, list) and len(resize) == 2
    if cfg.get("pad") not in (None, False, True):
        raise cannot(origin, f"pad is {cfg['pad']!r}, and should be true or false")
    if cfg.get("pad") and both:
        raise cannot(origin, "pad and a resize of both sides exclude each other", 'Give "resize" one length.')
    if resize is None:
        length = math.floor(size / share(origin, "crop_pct", cfg["crop_pct"]))
    else:
        length = side(origin, "resize", resize)
    return {
        "image_size": size,
        "resize": "pad" if cfg.get("pad") else "stretch" if both else "crop",
        "resize_size": length,
    }
