"""What is known of a model that is to be imported: by options, from its file, and from the library that it is of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gformer_cli.errors import InputError
from gformer_cli.importing.classes import distinct, read_classes
from gformer_cli.importing.hub import read_hub_folder
from gformer_cli.importing.transforms import Transform, from_preprocessor, from_timm, from_torchvision, read_transform
from gformer_cli.networks.build import NETWORKS, TIMM
from gformer_cli.weights.file import WeightsFile, read_weights
from gformer_cli.weights.published import Published, published

_HOW = "gformer import --backbone NAME --weights FILE --classes FILE --transform torchvision, or --from FOLDER"


@dataclass(frozen=True)
class Wish:
    """What the command line says."""

    folder: Path | None = None
    """Of a timm or Hugging Face model."""
    backbone: str | None = None
    weights: str | None = None
    """A file, or the library's name of weights that it publishes."""
    entry: str | None = None
    """Of a checkpoint."""
    classes: str | None = None
    transform: str | None = None
    image_size: int | None = None
    fetch: bool = True
    """Whether weights that a library publishes may be downloaded; without, they are left out."""


@dataclass(frozen=True)
class OwnModel:
    """Somebody's model: everything but the network itself."""

    backbone: str
    config: str | None
    """Of a network of the transformers library."""
    weights: WeightsFile
    weights_name: str
    """The file's name without its place, or the library's name of its weights."""
    classes: list[str]
    """In the order of the head."""
    classes_from: str
    transform: Transform


def gather(wish: Wish) -> OwnModel:
    """Everything about the model that `wish` names. Raises `InputError` for what is missing or contradicts itself."""
    if wish.folder is not None:
        return _of_folder(wish, wish.folder)
    if wish.backbone is None or wish.weights is None:
        lacking = "--backbone" if wish.backbone is None else "--weights"
        raise InputError(f"{lacking} is missing", f"For example: {_HOW}.")
    if wish.weights == "none":
        raise InputError("--weights none is a network that knows nothing", "Train one with gformer pretrain.")
    found = published(wish.backbone, wish.weights)
    if found is not None:
        return _of_library(wish, wish.backbone, found)
    path = Path(wish.weights)
    file = read_weights(path, entry=wish.entry)
    classes, origin = _classes(wish, file.classes, path.name)
    return OwnModel(wish.backbone, None, file, path.name, classes, origin, _transform(wish, wish.backbone))


def _of_folder(wish: Wish, folder: Path) -> OwnModel:
    for option, value in {"--backbone": wish.backbone, "--weights": wish.weights}.items():
        if value is not None:
            raise InputError(f"{option} and --from both say which model is meant", "Leave out one of them.")
    hub = read_hub_folder(folder)
    file = read_weights(hub.weights, entry=wish.entry)
    classes, origin = _classes(wish, hub.classes, f"{folder.name}/config.json")
    if wish.transform is not None:
        transform = _transform(wish, hub.backbone)
    elif hub.transform is None:
        raise InputError(
            f"{folder} does not say how images are prepared", "Say it: --transform torchvision, timm or FILE.json."
        )
    else:
        read = from_timm if hub.kind == "timm" else from_preprocessor
        transform = read(hub.transform, origin=folder.name, image_size=wish.image_size)
    return OwnModel(hub.backbone, hub.config, file, hub.weights.name, classes, origin, transform)


def _of_library(wish: Wish, backbone: str, found: Published) -> OwnModel:
    file = WeightsFile(found.load() if wish.fetch else {}, None, (), found.classes, "")
    classes, origin = _classes(wish, found.classes, found.name)
    if wish.transform is not None:
        transform = _transform(wish, backbone)
    elif found.pretrained_cfg is not None:
        transform = from_timm(found.pretrained_cfg, origin=found.name, image_size=wish.image_size)
    else:
        transform = from_torchvision(found.transforms, origin=found.name, image_size=wish.image_size)
    return OwnModel(backbone, None, file, found.name, classes, origin, transform)


def _classes(wish: Wish, known: list[str] | None, holder: str) -> tuple[list[str], str]:
    """Names in the order of the head, and where they are from."""
    if wish.classes is not None:
        path = Path(wish.classes)
        return read_classes(wish.classes), path.name if path.is_file() else wish.classes
    if known is None:
        raise InputError(
            f"{holder} does not name the classes, numbered from 0 on",
            "Add --classes FILE: a name a line, in the order of the model's outputs (or JSON: a list, class_to_idx, "
            "id2label).",
        )
    return distinct(known), holder


def _transform(wish: Wish, backbone: str) -> Transform:
    """How images are prepared, as it was said; torchvision's and timm's networks have a way of their own."""
    text = wish.transform
    if text is None:
        text = "timm" if backbone.startswith(TIMM) else "torchvision" if backbone in NETWORKS else None
    if text is None:
        raise InputError(
            f"nothing says how images are prepared for {backbone}",
            "Say it: --transform torchvision, timm or FILE.json.",
        )
    return read_transform(text, backbone=backbone, image_size=wish.image_size)
