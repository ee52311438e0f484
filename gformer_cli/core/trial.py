"""One trial pass: does a network map images to logits as everything here counts on?

A network that does not is told before hours are spent on it. Random images show nothing of how good it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone, adaptive_layers
from gformer_cli.core.session import Session
from gformer_cli.errors import GformerError, InputError, reason

_IMAGES = 3
"""In the trial batch: more than one, so that an answer for the batch and one for each image differ."""
_NEAR = 1e-3
"""Of the largest logit: what equal answers may differ by, since batches of other sizes round differently."""


def try_network(
    network: nn.Module, name: str, classes: int, image_size: int, device: torch.device, head: str | None = None
) -> Backbone:
    """Raises `InputError` unless `network` (eval mode, left so) answers images (B, 3, S, S) with logits (B, `classes`).

    Each image's answer must be its own, the same each time, and come from the head (`head`, or the one that is found).
    Images and network must stay as they were. Every normalisation layer that is adapted must take part. Returns the
    network as a backbone.
    """
    with _exactly():
        return _tried(network, _Trial(name, classes, image_size), device, head)


def _tried(network: nn.Module, trial: _Trial, device: torch.device, head: str | None) -> Backbone:
    network.to(device).eval()
    adaptive_layers(network)  # first of all: is there anything to generate?
    images = trial_images(_IMAGES, trial.image_size, device)
    given, before = images.clone(), {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():
        logits = trial.logits(network, images)
        if not bool(torch.isfinite(logits).all()):
            raise trial.refused("its answers are not finite", "Give it other --weights.")
        if not torch.equal(images, given):
            raise trial.refused("it changes the images that it is given", "Work on a copy of the input.")
        if any(not torch.equal(value, before[key]) for key, value in network.state_dict().items()):
            raise trial.refused("it changes its own state in eval mode", "Keep state in training alone.")
        if not _near(logits, trial.logits(network, images)):
            raise trial.refused(
                "it answers the same images differently each time", "Switch randomness off in eval mode."
            )
        alone = torch.cat([trial.logits(network, image[None]) for image in images])
        if not _near(logits, alone):
            raise trial.refused("its answer to an image depends on the others of the batch", "Treat each by itself.")
    with trial.told():
        backbone = Backbone(network, image_size=trial.image_size, head=head)
    with torch.no_grad():
        _try_layers(backbone, trial, images, logits)
    return backbone


def try_training(network: nn.Module, name: str, classes: int, image_size: int, batch_size: int) -> None:
    """Raises `InputError` unless one step of training, without its update, works in batches of `batch_size`."""
    trial = _Trial(name, classes, image_size, batch_size)
    images = trial_images(min(batch_size, _IMAGES), image_size, next(network.parameters()).device)
    network.train()
    logits = trial.logits(network, images)
    with trial.told():
        loss = F.cross_entropy(logits.float(), torch.zeros(len(images), dtype=torch.long, device=images.device))
        loss.backward()  # type: ignore[no-untyped-call]


def try_generation(
    predict: Callable[[torch.Tensor], torch.Tensor], name: str, classes: int, images: torch.Tensor
) -> None:
    """Raises `InputError` unless `predict` turns `images` into logits (B, `classes`)."""
    _Trial(name, classes, images.shape[-1]).logits(predict, images)


def trial_images(count: int, image_size: int, device: torch.device) -> torch.Tensor:
    """(count, 3, S, S), of the spread that normalised images have; the same ones each time."""
    random = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, image_size, image_size, generator=random).to(device)


@contextmanager
def measured(network: nn.Module) -> Iterator[list[int]]:
    """Collects how many bytes each layer's input and output take together in the passes inside."""
    found: list[int] = []

    def note(_module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        found.append(sum(item.nbytes for item in (*given, made) if isinstance(item, torch.Tensor)))

    handles = [module.register_forward_hook(note) for module in network.modules() if not list(module.children())]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _exactly() -> Iterator[None]:
    """GPUs convolve in TF32 unless told otherwise: with 10 bits, batches of other sizes differ by more than `_NEAR`."""
    convolutions = torch.backends.cudnn
    before, convolutions.allow_tf32 = convolutions.allow_tf32, False
    try:
        yield
    finally:
        convolutions.allow_tf32 = before


class _Trial:
    """What to say of the network under trial."""

    def __init__(self, name: str, classes: int, image_size: int, batch_size: int | None = None) -> None:
        self.name = name
        self.classes = classes
        self.image_size = image_size
        self.batch_size = batch_size

    def logits(self, network: Callable[[torch.Tensor], Any], images: torch.Tensor) -> torch.Tensor:
        with self.told():
            found = network(images)
        wanted = (len(images), self.classes)
        if isinstance(found, torch.Tensor) and found.shape == wanted and found.is_floating_point():
            return found
        what = f"a tensor {tuple(found.shape)}" if isinstance(found, torch.Tensor) else f"a {type(found).__name__}"
        raise self.refused(
            f"it answers {len(images)} images with {what}",
            f"It must be a tensor {wanted}: one number for each image and class.",
        )

    @contextmanager
    def told(self) -> Iterator[None]:
        """Whatever a network raises is its own fault, or that of the size of the images."""
        try:
            yield
        except GformerError:
            raise
        except Exception as error:
            size = f"{self.image_size} x {self.image_size} images"
            if self.batch_size == 1:
                size += " in batches of one"
            raise InputError(
                f"backbone {self.name} does not take {size}: {reason(error)}",
                "Set pretrain.batch_size to 2 or more." if self.batch_size == 1 else "Try another --image-size.",
            ) from None

    def refused(self, what: str, hint: str) -> InputError:
        return InputError(f"backbone {self.name} cannot be used: {what}", hint)


class _OtherAnswer(Session):
    """A pass whose head answers something else, and tells what it was given."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone.source_parameters(), observing=True)
        self.given: list[tuple[int, ...]] = []

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        self.given.append(tuple(features.shape))
        return torch.randn(*features.shape[:-1], len(self.parameters.bias), device=features.device).to(features)


def _try_layers(backbone: Backbone, trial: _Trial, images: torch.Tensor, logits: torch.Tensor) -> None:
    """Whether what is generated for reaches the answer: every adaptive layer, and the head."""
    head = backbone.classifier_name
    if backbone.num_classes != trial.classes:
        raise trial.refused(
            f"its head, {head}, has {backbone.num_classes} outputs for {trial.classes} classes",
            "It must have one output for each class.",
        )
    other = _OtherAnswer(backbone)
    with trial.told():
        moved = other.run(backbone.network, images)
    unused = [name for index, name in enumerate(backbone.layer_names) if index not in other.means]
    if unused:
        raise trial.refused(
            f"its normalisation layer {unused[0]} takes no part in the answer",
            "Remove layers that forward() does not use.",
        )
    if not other.given or _near(logits, moved):
        raise trial.refused(f"its head, {head}, does not make the answer", "Name another: --set backbone.head=NAME")
    if len(other.given) > 1 or len(other.given[0]) != 2:
        raise trial.refused(
            f"its head, {head}, is not given one row of features for each image",
            "Flatten what it is given to (B, D), and call it once.",
        )


def _near(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= _NEAR * one.abs().max())
