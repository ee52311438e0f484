"""Weights that a library publishes: torchvision's enumerations, and timm's by the backbone's name.

They bring the classes that they were trained on, and how their images are prepared.
"""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision

from gformer_cli.errors import InputError, did_you_mean, reason
from gformer_cli.networks.build import NETWORKS, TIMM

_AN_ENUMERATION = re.compile(r"imagenet\w*", re.IGNORECASE)
"""What torchvision calls its weights, and no suffix makes a file of it."""

_CONVERTS_INPUTS = ("googlenet", "inception_v3")
"""torchvision has these convert their inputs to a mean and deviation of 0.5, where it also loads the weights."""


@dataclass(frozen=True)
class Published:
    """Published weights of one backbone; nothing is downloaded before `load`."""

    name: str
    """Such as `IMAGENET1K_V2`, or timm's tag, such as `a1_in1k`."""
    classes: list[str] | None
    """In the order of the head, as the library calls them: two may have one name. None where it does not tell."""
    transforms: Any
    """Of torchvision: what makes an input of an image. None for timm."""
    pretrained_cfg: Mapping[str, Any] | None
    """Of timm: among others, how images are prepared. None for torchvision."""
    backbone: str
    _fetch: Callable[[], Mapping[str, torch.Tensor]]

    def load(self) -> dict[str, torch.Tensor]:
        """The tensors, downloaded unless the library has them. Raises `InputError` where that fails."""
        try:
            return dict(self._fetch())
        except (urllib.error.URLError, OSError, RuntimeError) as error:
            raise InputError(
                f"cannot download the weights {self.name} of {self.backbone}: {reason(error)}",
                "Download them elsewhere and pass the file: --weights FILE. gformer pretrain also starts from none.",
            ) from None


def names_published(weights: str) -> bool:
    """Whether it is the name of published weights, which may have to be downloaded, and not of a file."""
    return weights.upper() == "DEFAULT" or _AN_ENUMERATION.fullmatch(weights) is not None


def published(backbone: str, weights: str) -> Published | None:
    """What `weights` names: `default`, or for torchvision's backbones an enumeration, in any case of letters.

    None where it names a file, or is `none`. Raises `InputError` for an enumeration that the backbone does not have,
    and where there are no default weights.
    """
    wanted = weights.upper()
    if not names_published(weights):
        return None
    if backbone.startswith(TIMM) and wanted == "DEFAULT":
        return _of_timm(backbone)
    names: dict[str, Any] = {}
    if backbone in NETWORKS:
        names = dict(torchvision.models.get_model_weights(backbone).__members__)
    if wanted not in names:
        what = f"no weights {weights}" if names or wanted != "DEFAULT" else "no default weights"
        hint = did_you_mean(wanted, names) if names else "Use --weights none, or a file."
        if backbone.startswith(TIMM):
            hint = f"timm's are part of the backbone's name, as in {TIMM}resnet50.a1_in1k, with --weights default."
        raise InputError(f"there are {what} for {backbone}", hint)
    found = names[wanted]
    transforms = found.transforms()
    if backbone in _CONVERTS_INPUTS:  # our networks convert nothing, and so the inputs must come like that
        transforms.mean = transforms.std = [0.5, 0.5, 0.5]
    return Published(
        name=found.name,
        classes=list(found.meta["categories"]),
        transforms=transforms,
        pretrained_cfg=None,
        backbone=backbone,
        _fetch=lambda: found.get_state_dict(progress=False, check_hash=True),
    )


def _of_timm(backbone: str) -> Published:
    name = backbone.removeprefix(TIMM)
    try:
        import timm
    except ImportError:
        raise InputError(f"backbone {backbone} needs timm", "Install it: pip install 'gformer[timm]'") from None
    try:
        found = timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:  # an unknown tag
        raise InputError(f"there are no default weights for {backbone}: {reason(error)}", _tags(name)) from None
    if found is None or not found.has_weights:
        raise InputError(f"there are no default weights for {backbone}", _tags(name))

    def fetch() -> Mapping[str, torch.Tensor]:
        try:
            state: Mapping[str, torch.Tensor] = timm.create_model(name, pretrained=True).state_dict()
        except Exception as error:  # timm's hub client raises kinds of its own
            raise RuntimeError(reason(error)) from None
        return state

    cfg: dict[str, Any] = found.to_dict()  # type: ignore[no-untyped-call]
    return Published(found.tag or "default", _timm_classes(cfg), None, cfg, backbone, fetch)


def _tags(name: str) -> str:
    import timm

    tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    return f"There are: {', '.join(f'{TIMM}{tag}' for tag in tags[:10])}." if tags else "Use --weights none, or a file."


def _timm_classes(cfg: Mapping[str, Any]) -> list[str] | None:
    """The labels of the configuration, or those of the part of ImageNet that its number of classes tells."""
    if cfg.get("label_names"):
        return list(cfg["label_names"])
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(dict(cfg))
    if subset is None:
        return None
    labels = ImageNetInfo(subset).label_descriptions()
    return [label.partition(",")[0] for label in labels]
