"""A model out of somebody's own network, in memory: what `gformer import` does with files."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from gformer_cli.bundle import (
    FORMAT_VERSION,
    Bundle,
    BundleHeader,
    DataHeader,
    GeneratorHeader,
    build_model,
    library_versions,
)
from gformer_cli.compute.device import pick_device, pick_workers
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.trial import measured, trial_images, try_network
from gformer_cli.errors import InputError, reason
from gformer_cli.folders.domains import nfc
from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Preprocessing
from gformer_cli.importing.generators import NONE, Chosen, choose_generator, unrecorded
from gformer_cli.importing.transforms import from_mapping, read_transform
from gformer_cli.python.batching import Images, batches
from gformer_cli.python.loading import check_choice
from gformer_cli.python.model import Model
from gformer_cli.python.reading import ImageReader, PreprocessingReader, TransformReader
from gformer_cli.settings import DataSettings, Precision, Settings

Transform: TypeAlias = "Callable[[Any], Any] | Mapping[str, Any] | str | os.PathLike[str]"
_RECORDED_TOGETHER = 32
_LARGEST = 1024
"""Pixels of the network's input."""


def wrap(
    network: nn.Module,
    classes: Sequence[str],
    transform: Transform,
    *,
    generator: str | os.PathLike[str] = "universal",
    source: Images | None = None,
    head: str | None = None,
    device: str | torch.device = "auto",
    precision: Precision = "float32",
    workers: int | None = None,
) -> Model:
    """Your own classifier, adapted to each batch. It is copied: `network` itself stays as it is, to the bit.

    Args:
        network: maps images (B, 3, S, S) to logits (B, K). It needs normalisation layers and a linear layer that
            answers; docs/how-to/import.md tells which are adapted.
        classes: K names, in the order of the logits.
        transform: how you prepare images when you evaluate. Either code of torchvision, timm or your own, which makes
            a float tensor (3, S, S) of a Pillow image in RGB; or what `gformer import --transform` takes: a FILE.json,
            or its content as a dict.
        generator: `universal`, which comes with gformer; a generator file or a bundle that holds one; or `none`, an
            untrained one, which mixes the statistics of the batch in.
        source: images like those that the network was trained on, a few hundred, without labels. Networks with
            LayerNorm or GroupNorm need them: these layers keep no statistics by themselves.
        head: the name of the layer that answers; None looks for it.
        device: `auto` is the first GPU, else the CPU.
        precision: as in `load`.
        workers: as in `load`; 0 for a transform of your own that threads must not share.

    There is no guard: `gformer meta-train` calibrates one. Raises `InputError` for a network, classes or a transform
    that do not go together, and where source images are needed.
    """
    check_choice("precision", precision, Precision)
    if not isinstance(network, nn.Module):
        raise InputError(f"an object of type {type(network).__name__} is no network", "Give a torch.nn.Module.")
    names = _checked(classes)
    reader, data = _reader(transform)
    where, workers = pick_device(str(device)), pick_workers(workers)
    kind = type(network).__name__
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay what they would have been
        backbone = try_network(_copied(network), kind, len(names), reader.image_size, where, head).freeze()
        _record(backbone, reader, source, workers, required=str(generator) != NONE)
        settings = _settings(data, kind, backbone)
        chosen = choose_generator(backbone, settings, str(generator), recorded=source is not None)
        bundle = _bundle(backbone, chosen, names, reader.image_size)
    return Model(bundle.to(where), reader, guard=None, obeyed=True, precision=precision, workers=workers)


def _checked(classes: Sequence[str]) -> list[str]:
    if isinstance(classes, str):
        raise InputError(f"classes is one text, {classes!r}", "Give a list of names, in the order of the logits.")
    names = list(classes)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError("classes must be names, none of them empty", "Give a list, in the order of the logits.")
    if len({nfc(name) for name in names}) < len(names):
        twice = next(name for number, name in enumerate(names) if nfc(name) in map(nfc, names[:number]))
        raise InputError(f"two classes are called {twice!r}", "Classes need different names.")
    return names


def _copied(network: nn.Module) -> nn.Module:
    other = next((one.dtype for one in network.parameters() if one.dtype != torch.float32), None)
    if other is not None:
        raise InputError(f"the network has weights of {other}", "Give it in float32: network.float()")
    try:
        return copy.deepcopy(network)
    except Exception as error:  # it is the user's code: it may hold anything
        raise InputError(
            f"cannot copy the network: {reason(error)}", "Remove what it holds beside its layers."
        ) from error


def _reader(transform: Transform) -> tuple[ImageReader, DataSettings | None]:
    """What reads images, and how a bundle says it; None for a transform that is code."""
    if isinstance(transform, str | os.PathLike):
        path = Path(transform)
        if path.suffix.lower() != ".json":
            raise InputError(f"unknown transform: {os.fspath(transform)!r}", "Give the code itself, or a FILE.json.")
        stated = read_transform(str(path), backbone="")
    elif isinstance(transform, Mapping):
        stated = from_mapping(transform, origin="the mapping")
    elif callable(transform):
        reader = TransformReader(transform)
        if not 8 <= reader.image_size <= _LARGEST:
            size = reader.image_size
            raise InputError(f"the transform makes images of {size} x {size}", f"From 8 to {_LARGEST} are possible.")
        return reader, None
    else:
        raise InputError(
            f"an object of type {type(transform).__name__} is no transform", "Give code, a dict or a FILE.json."
        )
    data = DataSettings.model_validate(stated.changes)
    return PreprocessingReader(Preprocessing.of(data, Depth())), data


def _record(backbone: Backbone, reader: ImageReader, source: Images | None, workers: int, *, required: bool) -> None:
    """Record what layers without statistics of their own show of `source`. Raises `InputError` where that is needed."""
    left = unrecorded(backbone)
    if not left:
        return
    if source is None:
        if required:
            layers = " and ".join(f"{count} {family}" for family, count in left.items())
            raise InputError(
                f"{layers} layers keep no statistics of the images that the network was trained on",
                "Give a few hundred such images, unlabelled: source=[...]. With generator='none' nothing is adapted.",
            )
        return
    device = backbone.classifier.weight.device

    def shown() -> Iterator[torch.Tensor]:
        for batch in batches(source, reader, size=_RECORDED_TOGETHER, workers=workers):
            yield reader.network_input(batch.kept, device)

    backbone.record(_not_empty(shown()))


def _not_empty(found: Iterator[torch.Tensor]) -> Iterable[torch.Tensor]:
    first = next(found, None)
    if first is None:
        raise InputError("source holds no images", "Give a few hundred like those that the network was trained on.")
    yield first
    yield from found


def _settings(data: DataSettings | None, kind: str, backbone: Backbone) -> Settings:
    base = Settings()
    changes = {"name": kind, "weights": "", "head": backbone.classifier_name}
    described = base.backbone.model_copy(update=changes)
    return base.model_copy(update={"backbone": described, **({} if data is None else {"data": data})})


def _bundle(backbone: Backbone, chosen: Chosen, classes: list[str], image_size: int) -> Bundle:
    """As it would be read from a file."""
    settings = chosen.settings
    settings = settings.model_copy(update={"data": settings.data.model_copy(update={"image_size": image_size})})
    size = sum(parameter.numel() for parameter in chosen.generator.parameters())
    header = BundleHeader(
        format_version=FORMAT_VERSION,
        classes=classes,
        preprocessing=settings.data,
        backbone=settings.backbone,
        generator=GeneratorHeader(settings=settings.generator, parameters=size),
        data=DataHeader(domains={}, fingerprint=""),
        validation={},
        versions=library_versions(),
        settings=settings,
        lineage=chosen.lineage,
    )
    model = build_model(settings.generator, chosen.generator).eval().requires_grad_(False)
    bundle = Bundle(header, backbone, model)
    device = backbone.classifier.weight.device
    with measured(backbone.network) as sizes, torch.no_grad():
        backbone(trial_images(1, image_size, device))
    bundle.image_bytes = max(sizes, default=0)
    return bundle
