"""Preprocessing as torchvision and timm describe it, beside the weights that they publish."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.importing.stated import EXAMPLE, Transform, cannot, filter_name, share, side, three, transform
from gformer_cli.networks.build import TIMM

_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_SHARE = 0.875
"""Of the resized image that timm keeps where a configuration does not say it."""
_MODES = {"center": "crop", "squash": "stretch", "border": "pad"}
"""timm's ways to a square image, and ours."""
_OWN = "a FILE.json that says it, so: " + EXAMPLE
_FILE = "Give " + _OWN


def from_torchvision(preset: Any, *, origin: str = "torchvision", image_size: int | None = None) -> Transform:
    """What `weights.transforms()` does. For another `image_size` the resizing changes in proportion.

    Raises `InputError` for transforms of other tasks than classification.
    """
    names = ("crop_size", "resize_size", "interpolation", "mean", "std")
    if not all(hasattr(preset, name) for name in names):
        raise cannot(origin, f"{type(preset).__name__} is no transform for image classification")
    size = side(origin, "crop_size", preset.crop_size)
    wanted = image_size or size
    both = isinstance(preset.resize_size, list | tuple) and len(preset.resize_size) == 2
    name = str(getattr(preset.interpolation, "value", preset.interpolation))
    return transform(
        origin,
        {
            "image_size": wanted,
            "resize": "stretch" if both else "crop",
            "resize_size": round(side(origin, "resize_size", preset.resize_size) * wanted / size),
            "interpolation": filter_name(origin, "nearest" if name == "nearest-exact" else name),
            "antialias": getattr(preset, "antialias", True) is not False,
            "mean": three(origin, "mean", preset.mean),
            "std": three(origin, "std", preset.std),
        },
    )


def of_torchvision(backbone: str, image_size: int | None = None, *, weights: str = "DEFAULT") -> Transform:
    """The transform of weights that torchvision publishes for the backbone, by their name in any case of letters.

    Its `alternatives` name the backbone's other weights whose images are prepared otherwise.
    """
    from torchvision.models import get_model_weights

    try:
        members = dict(get_model_weights(backbone).__members__)
    except ValueError:
        members = {}
    if not members:
        raise InputError(f"torchvision has no weights of backbone {backbone}, and so no transform", _FILE)
    if weights.upper() not in members:
        raise InputError(f"there is no transform {weights} for {backbone}", did_you_mean(weights.upper(), members))
    chosen = members[weights.upper()]
    made = {
        name: from_torchvision(member.transforms(), origin=f"torchvision {member}", image_size=image_size)
        for name, member in members.items()
        if name == member.name
    }
    found = made[chosen.name]
    others = tuple(name for name, one in made.items() if one.changes != found.changes)
    return replace(found, alternatives=others)


def from_timm(cfg: Mapping[str, Any], *, origin: str = "timm", image_size: int | None = None) -> Transform:
    """What timm's `create_transform(**resolve_data_config({}, pretrained_cfg=cfg))` does.

    `cfg` is a `pretrained_cfg`, or a `config.json` that holds one. With another `image_size` the same share of the
    resized image is kept. Raises `InputError` for an input that is not square or has not three channels.
    """
    inner = cfg.get("pretrained_cfg")
    if isinstance(inner, Mapping):
        cfg = inner
    elif "architecture" in cfg and "input_size" not in cfg:
        raise cannot(
            origin, "it names an architecture, and holds no pretrained_cfg", "Give --transform timm, or " + _OWN
        )
    shape = cfg.get("input_size") or (3, 224, 224)
    if not isinstance(shape, list | tuple) or len(shape) != 3:
        raise cannot(origin, f"input_size is {shape!r}, and should be such as [3, 224, 224]")
    if shape[0] != 3:
        raise cannot(origin, f"its input has {shape[0]} channels", "Networks take three channels.")
    size = image_size or side(origin, "input_size", list(shape[1:]))
    mode = str(cfg.get("crop_mode") or "center")
    if mode not in _MODES:
        raise cannot(origin, f"unknown crop_mode: {mode!r}", f"timm has: {', '.join(_MODES)}.")
    mean = three(origin, "mean", cfg.get("mean") or _IMAGENET["mean"])
    changes = {
        "image_size": size,
        "resize": _MODES[mode],
        "resize_size": math.floor(size / share(origin, "crop_pct", cfg.get("crop_pct") or _SHARE)),
        "interpolation": filter_name(origin, cfg.get("interpolation") or "bicubic"),
        "mean": mean,
        "std": three(origin, "std", cfg.get("std") or _IMAGENET["std"]),
    }
    if mode == "border":
        changes["fill"] = tuple(round(255 * value) for value in mean)
    return transform(origin, changes)


def of_timm(backbone: str, image_size: int | None = None) -> Transform:
    """The transform of timm's weights of a backbone `timm:NAME`."""
    if not backbone.startswith(TIMM):
        raise InputError(f"backbone {backbone} is none of timm's, and has no transform there", _FILE)
    try:
        import timm
    except ImportError:
        raise InputError("transform timm needs timm", "Install it: pip install 'gformer[timm]'") from None
    name = backbone.removeprefix(TIMM)
    try:
        known: Any = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    except RuntimeError:  # a network of timm's, and a tag that is none
        known = None
    if known is None:
        raise InputError(f"timm has no weights of {name}, and so no transform", _FILE)
    return from_timm(known.to_dict(), origin=f"timm {name}", image_size=image_size)
