"""A wrapped model as a bundle."""

from __future__ import annotations

import textwrap
from pathlib import Path

import torch

from gformer_cli.bundle import Bundle, OriginHeader, save_bundle, tensors_hash
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.trial import trial_images
from gformer_cli.errors import InputError
from gformer_cli.files import check_writable
from gformer_cli.networks.build import build_network
from gformer_cli.python.reading import ImageReader, PreprocessingReader

_NEAR = 1e-4
"""Of the largest logit: what answers of the same network may differ by in another layout of memory."""


def save(bundle: Bundle, reader: ImageReader, path: Path, *, backbone: str, overwrite: bool) -> None:
    """See `Model.save`."""
    if bundle.path is not None:
        raise InputError(f"the model was loaded from {bundle.path}, which is a file already", "Copy that file.")
    if not isinstance(reader, PreprocessingReader):
        raise InputError(
            "the transform is code, and a bundle holds none",
            'Say it as a dict: gformer.wrap(network, classes, {"resize": 256, "crop": 224, "mean": ..., "std": ...}).',
        )
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file", "Name a file, such as site.gformer.")
    if path.exists() and not overwrite:
        raise InputError(f"output file exists: {path}", "Replace it with overwrite=True, or name another.")
    check_writable(path)
    with torch.random.fork_rng(devices=[]):
        built = _built(bundle, backbone)
    assert isinstance(bundle.model, GeneralizeFormer)
    from gformer_cli.train.imported import own_tensors  # late: training is much to import

    settings = bundle.header.settings
    named = settings.backbone.model_copy(update={"name": backbone})
    save_bundle(
        path,
        backbone=built,
        generator=bundle.model.generator,
        constant=None,
        settings=settings.model_copy(update={"backbone": named}),
        classes=bundle.header.classes,
        data=bundle.header.data,
        validation={},
        lineage=bundle.header.lineage,
        origin=OriginHeader(
            weights="a network in memory",
            tensors=tensors_hash(own_tensors(built.network)),
            classes="the caller",
            transform="the caller",
        ),
    )


@torch.no_grad()
def _built(bundle: Bundle, name: str) -> Backbone:
    """The network that `name` builds, with the wrapped one's tensors. Raises `InputError` unless it answers alike."""
    wrapped, size = bundle.backbone, bundle.header.preprocessing.image_size
    network = build_network(name, len(bundle.header.classes), image_size=size)
    hint = "Name what built the network, or your own code: FILE.py:FUNCTION."
    try:
        built = Backbone(network, head=wrapped.classifier_name)
        built.network.load_state_dict(wrapped.network.state_dict())
    except (InputError, RuntimeError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{name} does not build the network that was wrapped: {textwrap.shorten(why, 200)}", hint
        ) from None
    built.freeze()
    device = wrapped.classifier.weight.device
    images = trial_images(2, size, device)
    wanted, found = wrapped(images), built.to(device)(images)
    if bool((wanted - found).abs().max() > _NEAR * wanted.abs().max()):
        raise InputError(f"{name} builds a network that answers otherwise than the one that was wrapped", hint)
    return built
