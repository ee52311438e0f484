"""One batch of one target: generate its parameters and predict it with them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gformer_cli.adapt.answering import Answer, GraphAnswer, answer, graph_answer, probabilities_of
from gformer_cli.adapt.rows import Row
from gformer_cli.allocator import KeptMemory
from gformer_cli.bundle import Bundle
from gformer_cli.compute.pace import Pace
from gformer_cli.core.change import Change
from gformer_cli.core.context import Context
from gformer_cli.core.estimators import Dropout, Fitted, Inferences, inferred, watched
from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.parameters import Parameters
from gformer_cli.export.model import GraphModel
from gformer_cli.guard.rule import Guard, Verdict
from gformer_cli.images.preprocessing import Batch
from gformer_cli.seeding import derive_seed

_CALL = 6
"""A batch costs about as much as so many images more."""
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
    """(B, K) under the parameters that the guard let predict, on the CPU."""
    labels: torch.Tensor
    """(B,): the class of each image, on the CPU. No temperature changes it."""
    source_probabilities: torch.Tensor
    """(B, K) of the unadapted model, on the CPU."""
    source_labels: torch.Tensor
    """(B,): the unadapted model's, on the CPU."""
    prediction: Prediction | None
    """What was generated, and from what; None from an exported file, which does not show it."""
    verdict: Verdict
    """What the guard decided; where it only warns, `probabilities` are the generated parameters' all the same."""
    parameters: Parameters | None
    """Those that predicted, after the guard's decision; None likewise."""
    measure: Callable[[], Change]
    """How much of a change was generated."""
    seconds: float
    """From decoded images to probabilities."""
    threads: int
    """That computed it: sums are split among them, and rounded in another order."""
    inferred: Inferences | None = None
    """What dropout says of the answers, where that was asked for and can be had."""
    fitted: Fitted | None = None
    """What accuracy is guessed by, where anything was fitted."""

    def rows(self, classes: list[str]) -> list[Row]:
        """One row per image, in the order of the batch."""
        label, before = self.labels.tolist(), self.source_labels.tolist()
        return [
            Row(
                target=self.target,
                path=file.relative,
                label=classes[label[index]],
                confidence=float(self.probabilities[index, label[index]]),
                batch=self.number,
                source_label=classes[before[index]],
                decision=self.verdict.decision,
                probabilities=tuple(self.probabilities[index].tolist()),
            )
            for index, file in enumerate(self.batch.files)
        ]


Sink = Callable[[Outcome], None]
"""Takes each outcome in turn, before the next batch is predicted: an audit log, a folder of parameters."""


class Predictor:
    """Predicts batch after batch with parameters of their own. No state but a counter of batches, and a context.

    With a `guard`, that one decides which parameters predict; unless `obeyed`, it decides and nobody follows. With
    `context`, parameters are generated from what the last so many batches of the same target showed as well: the
    statistics of each target are kept by themselves, for the targets that came last. `precision` is that of
    `compute.device.autocast`; what is decided and written is computed in float32. With `dropping`, outcomes have what
    dropout says of the answers, which an exported file cannot tell.

    Every probability is a finite number: where generated parameters give none, the source model answers, under any
    guard and without one, and the verdict says `OVERFLOW`. Raises `InputError` where the source model gives none.
    """

    def __init__(
        self,
        bundle: Bundle | GraphModel,
        device: torch.device,
        guard: Guard | None = None,
        *,
        obeyed: bool = True,
        context: int = 0,
        precision: str = "float32",
        pace: Pace | None = None,
        dropping: bool = False,
    ) -> None:
        self.bundle = bundle if isinstance(bundle, GraphModel) else bundle.to(device)
        self.device = device
        self.guard = guard
        self.obeyed = obeyed
        self.batches = 0
        self.context = context
        self.precision = precision
        self.pace = pace or Pace(torch.get_num_threads(), fixed=True)
        self.memory = KeptMemory()
        self._contexts: dict[str, Context] = {}
        self._dropping = dropping and isinstance(self.bundle, Bundle)

    def predict(self, batch: Batch, target: str) -> Outcome:
        """Everything about one batch; the next has the next number."""
        with self.pace.step(len(batch.files) + _CALL):
            return self._predict(batch, target)

    def _predict(self, batch: Batch, target: str) -> Outcome:
        began = time.perf_counter()
        images = self.bundle.preprocessing.network_input(batch.pixels, self.device)
        found, dropped = self._judged(images, target) if self._dropping else (self._answer(images, target), None)
        if found.overflown:
            self._contexts.pop(target, None)
        probable = probabilities_of(found, self.bundle.temperatures)
        number = self.batches
        self.batches += 1
        self.memory.give_back_if_due()
        return Outcome(
            number=number,
            target=target,
            batch=batch,
            probabilities=probable.adapted,
            labels=probable.labels,
            source_probabilities=probable.source,
            source_labels=probable.source_labels,
            prediction=found.prediction,
            verdict=found.verdict,
            parameters=found.parameters,
            measure=found.measure,
            seconds=time.perf_counter() - began,
            threads=self.bundle.threads if isinstance(self.bundle, GraphModel) else torch.get_num_threads(),
            inferred=dropped,
            fitted=self.bundle.estimators(found.share),
        )

    def _judged(self, images: torch.Tensor, target: str) -> tuple[Answer | GraphAnswer, Inferences | None]:
        """The answer to a batch, and what dropout says of it."""
        assert isinstance(self.bundle, Bundle)
        with watched(self.bundle.backbone.classifier) as head, head.watching():
            found = self._answer(images, target)
        dropout = Dropout(derive_seed(0, "aetta", self.batches))
        return found, inferred(head.behind(found.logits), self.bundle.estimators(found.share), dropout)

    def _answer(self, images: torch.Tensor, target: str) -> Answer | GraphAnswer:
        if isinstance(self.bundle, GraphModel):
            return graph_answer(self.bundle, images, self.guard, obeyed=self.obeyed, target=target)
        return answer(
            self.bundle,
            images,
            self.guard,
            obeyed=self.obeyed,
            context=self._context_of(target),
            precision=self.precision,
            target=target,
        )

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
