"""A model that adapts to each batch that it predicts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from gformer_cli.adapt.answering import Answer, GraphAnswer, answer, graph_answer, probabilities_of
from gformer_cli.adapt.parameters import named_parameters
from gformer_cli.bundle import Bundle
from gformer_cli.core.context import Context
from gformer_cli.errors import InputError
from gformer_cli.export.model import GraphModel
from gformer_cli.guard.rule import Guard
from gformer_cli.python.batching import Batch, Images, OnUnreadable, batches, one_batch
from gformer_cli.python.reading import ImageReader
from gformer_cli.python.result import Result
from gformer_cli.python.saving import save

_TARGET = "this batch"
"""What an error calls the images."""


class Model:
    """A source model, the generator that adapts it to each batch, and the guard. `load` and `wrap` make it.

    Predicting changes nothing in it: threads may share one.
    """

    def __init__(
        self,
        bundle: Bundle | GraphModel,
        reader: ImageReader,
        *,
        guard: Guard | None,
        obeyed: bool,
        precision: str,
        workers: int,
    ) -> None:
        self.classes = tuple(bundle.header.classes)
        """Names of the K classes, in the order of the probabilities."""
        self.preprocessing = reader
        """How an image becomes the network's input. `model.preprocessing(image)` is float (3, S, S): a data set's
        transform."""
        self._bundle = bundle
        self._guard = guard
        self._obeyed = obeyed
        self._precision = precision
        self._workers = workers

    def __repr__(self) -> str:
        name = self._bundle.header.backbone.name
        return f"<Model: {name}, {len(self.classes)} classes, guard {self.guard}, on {self.device}>"

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        if isinstance(self._bundle, GraphModel):
            return torch.device("cpu")
        return self._bundle.backbone.classifier.weight.device

    @property
    def guard(self) -> str:
        """`on`, `warn` or `off`; `off` also where the bundle holds no guard."""
        return "off" if self._guard is None else "on" if self._obeyed else "warn"

    @property
    def source_parameters(self) -> dict[str, torch.Tensor]:
        """Those of the model as it is, by the names of `Result.parameters`. Copies, on the CPU."""
        backbone = self._shown().backbone
        return named_parameters(backbone, backbone.source_parameters())

    def predict(self, images: Images) -> Result:
        """Adapt to one batch of B images, and predict them. What was predicted before plays no part.

        Args:
            images: a list of paths, Pillow images, uint8 arrays (H, W, 3) of any sizes, or the bytes of files; a uint8
                array (B, H, W, 3); or the network's input, a float tensor (B, 3, S, S). They should be of one
                condition, and of several classes: see docs/how-to/python.md.

        Raises `InputError`, which names every image that cannot be used.
        """
        return self._predicted(one_batch(images, self.preprocessing, self._workers), None, 0)

    def stream(
        self,
        images: Images,
        batch_size: int = 8,
        context: int = 0,
        *,
        on_unreadable: OnUnreadable | None = None,
    ) -> Iterator[Result]:
        """Adapt to batch after batch of `images`, in their order, and give the result of each as soon as it is full.

        Args:
            images: any iterable of what `predict` takes; it may have no end. No image is asked for before it is due.
            batch_size: how many images are predicted together. The last batch may be smaller.
            context: parameters are generated from what the last so many batches of this stream showed as well.
            on_unreadable: is called with the place of an image that cannot be used and the reason, and the batch goes
                on without it. By default such an image raises `InputError`.

        Raises `ValueError` for a batch size below 1 and a context below 0.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size}")
        if context < 0:
            raise ValueError(f"context must be 0 or more, not {context}")
        if context and isinstance(self._bundle, GraphModel):
            raise InputError(
                f"context has no effect on {self._bundle.path}", "In an ONNX file each batch is by itself."
            )
        if context and self._bundle.header.static is not None:
            raise InputError(
                "context has no effect on a static bundle", "It predicts every batch with the same statistics."
            )
        read = batches(images, self.preprocessing, size=batch_size, workers=self._workers, on_unreadable=on_unreadable)
        return self._results(read, context)

    def _results(self, read: Iterator[Batch], size: int) -> Iterator[Result]:
        context = Context(size) if size else None
        for number, batch in enumerate(read):
            yield self._predicted(batch, context, number)

    def _predicted(self, batch: Batch, context: Context | None, number: int) -> Result:
        device = self.device
        self._check_memory(len(batch.kept), device)
        images = self.preprocessing.network_input(batch.kept, device)
        found = self._answer(images, context)
        if found.overflown and context is not None:
            context.forget()
        verdict, probable = found.verdict, probabilities_of(found, self._bundle.temperatures)
        return Result(
            classes=self.classes,
            probabilities=probable.adapted,
            source_probabilities=probable.source,
            indices=probable.labels,
            source_indices=probable.source_labels,
            decision=verdict.decision,
            share=verdict.share,
            reasons=verdict.reasons,
            signals=verdict.signals,
            parameters={} if found.parameters is None else named_parameters(self._shown().backbone, found.parameters),
            positions=batch.positions,
            number=number,
        )

    def _answer(self, images: torch.Tensor, context: Context | None = None) -> Answer | GraphAnswer:
        bundle = self._bundle
        if isinstance(bundle, GraphModel):
            return graph_answer(bundle, images, self._guard, obeyed=self._obeyed, target=_TARGET)
        return answer(
            bundle,
            images,
            self._guard,
            obeyed=self._obeyed,
            context=context,
            precision=self._precision,
            target=_TARGET,
        )

    def _shown(self) -> Bundle:
        """The bundle. Raises `InputError` for an exported file, which shows its answers alone."""
        if isinstance(self._bundle, GraphModel):
            raise InputError(
                f"{self._bundle.path} is an ONNX file, which shows neither its network nor parameters",
                "Load the bundle that it was exported from.",
            )
        return self._bundle

    def _check_memory(self, images: int, device: torch.device) -> None:
        try:
            self._bundle.check_memory(images, device)
        except InputError as error:
            raise InputError(error.message, "Predict fewer together: model.stream(images, batch_size=...).") from None

    @cached_property
    def module(self) -> Adapted:
        """The same as a `torch.nn.Module`: `model.module(images) -> logits`. It shares everything with this model."""
        return Adapted(self, self._shown())

    def save(self, path: str | os.PathLike[str], *, backbone: str, overwrite: bool = False) -> None:
        """Write what `wrap` made as a bundle, for `load` and the command line.

        A bundle holds tensors and no code. `backbone` names what builds the network: `resnet18` or another of
        torchvision's, `timm:NAME`, or your own code as `FILE.py:FUNCTION`, where `FUNCTION(num_classes)` returns it.

        Raises `InputError` where that is another network, for a file that is there without `overwrite`, for a transform
        that is code, and for a model that was loaded: it is a file already.
        """
        save(self._shown(), self.preprocessing, Path(path), backbone=backbone, overwrite=overwrite)


class Adapted(nn.Module):
    """A `Model` as a module: the network's input (B, 3, S, S) to adapted logits (B, K), on the model's device.

    Each call is a batch by itself. It is always in eval mode, and records no gradients.
    """

    def __init__(self, model: Model, bundle: Bundle) -> None:
        super().__init__()
        self.source = bundle.backbone
        """The network as it is."""
        self.adapter = bundle.model
        """What generates."""
        self._model = model
        super().train(False)

    def train(self, mode: bool = True) -> Adapted:
        """Nothing of it is ever trained: it stays in eval mode."""
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) under the parameters that the guard lets predict."""
        if images.dim() != 4 or not len(images):
            raise InputError(f"a tensor {tuple(images.shape)} is not the network's input (B, 3, S, S)")
        checked = self._model.preprocessing.checked(images)
        return self._model._answer(checked.to(self._model.device)).logits
