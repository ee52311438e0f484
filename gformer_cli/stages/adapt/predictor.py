"""One batch of one target: generate its parameters and predict it with them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.guard import Verdict
from gformer_cli.data.images import Batch
from gformer_cli.stages.adapt.output import Row

REMEMBERED_TARGETS = 16
"""So many contexts are kept: folders named by date would pile up for ever."""


@dataclass(frozen=True)
class Outcome:
    """What one batch of B images got. K classes."""

    number: int
    """Of the batch, from 0, over the whole call."""
    target: str
    batch: Batch
    probabilities: torch.Tensor
    """(B, K) under the generated parameters, on the CPU."""
    source_probabilities: torch.Tensor
    """(B, K) of the unadapted model, on the CPU."""
    prediction: Prediction
    """The parameters and what they were generated from."""
    verdict: Verdict
    """Whether the guard let the generated parameters predict."""
    seconds: float
    """From decoded images to probabilities."""

    def rows(self, classes: list[str]) -> list[Row]:
        """One row per image, in the order of the batch."""
        confidence, label = self.probabilities.max(dim=1)
        before = self.source_probabilities.argmax(dim=1)
        return [
            Row(
                target=self.target,
                path=file.relative,
                label=classes[int(label[index])],
                confidence=float(confidence[index]),
                batch=self.number,
                source_label=classes[int(before[index])],
                probabilities=tuple(self.probabilities[index].tolist()),
            )
            for index, file in enumerate(self.batch.files)
        ]


class Predictor:
    """Predicts batch after batch with parameters of their own. No state but a counter of batches, and a context.

    With `context`, parameters are generated from what the last so many batches of the same target showed as well: the
    statistics of each target are kept by themselves, for the targets that came last.
    """

    def __init__(self, bundle: Bundle, device: torch.device, *, context: int = 0) -> None:
        self.bundle = bundle.to(device)
        self.device = device
        self.batches = 0
        self.context = context
        self._contexts: dict[str, Context] = {}

    @torch.no_grad()
    def predict(self, batch: Batch, target: str) -> Outcome:
        """Everything about one batch; the next has the next number."""
        began = time.perf_counter()
        images = self.bundle.preprocessing.network_input(batch.pixels, self.device)
        before = self.bundle.backbone(images).softmax(dim=1).cpu()
        prediction: Prediction = self.bundle.method(self.bundle.backbone, images, self._context_of(target))
        probabilities = prediction.logits.softmax(dim=1).cpu()
        number = self.batches
        self.batches += 1
        return Outcome(number, target, batch, probabilities, before, prediction, Verdict(), time.perf_counter() - began)

    def _context_of(self, target: str) -> Context | None:
        if not self.context:
            return None
        context = self._contexts.pop(target, None)
        if context is None:
            context = Context(self.context)
        self._contexts[target] = context  # now the newest
        if len(self._contexts) > REMEMBERED_TARGETS:
            del self._contexts[next(iter(self._contexts))]
        return context
