"""The answer to one batch of the network's input: what predicts it, and how far that is trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, TypeVar

import torch

from gformer_cli.bundle import Bundle, Described
from gformer_cli.compute.device import autocast
from gformer_cli.core.change import Change, measure_change
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.temperature import Temperatures
from gformer_cli.errors import InputError
from gformer_cli.export.model import GraphModel
from gformer_cli.guard.prediction import predict_both
from gformer_cli.guard.rule import SOURCE, Guard, Verdict

OVERFLOW = "overflow"
"""The reason of a verdict on generated parameters that give no finite numbers: the source model answers."""


@dataclass(frozen=True)
class Answer:
    """What B images got. K classes."""

    logits: torch.Tensor
    """(B, K) under `parameters`."""
    source: torch.Tensor
    """(B, K) logits of the unadapted model."""
    prediction: Prediction
    """What was generated, and from what."""
    verdict: Verdict
    """What the guard decided; where it only warns, `logits` are the generated parameters' all the same."""
    parameters: Parameters
    """Those that predicted, after the guard's decision."""
    share: float
    """How much of what was generated is in them: 1 all of it, 0 nothing."""

    @property
    def overflown(self) -> bool:
        """Whether what was generated gave no finite numbers."""
        return OVERFLOW in self.verdict.reasons

    @property
    def measure(self) -> Callable[[], Change]:
        """How much of a change was generated, once it is asked for."""
        return partial(measure_change, self.prediction)


@dataclass(frozen=True)
class GraphAnswer:
    """What B images got of an exported file, which does not show its parameters. As `Answer`."""

    logits: torch.Tensor
    source: torch.Tensor
    verdict: Verdict
    share: float
    measure: Callable[[], Change]
    prediction: None = None
    parameters: None = None

    @property
    def overflown(self) -> bool:
        return OVERFLOW in self.verdict.reasons


@torch.no_grad()
def answer(
    bundle: Bundle,
    images: torch.Tensor,
    guard: Guard | None,
    *,
    obeyed: bool = True,
    context: Context | None = None,
    precision: str = "float32",
    target: str = "",
) -> Answer:
    """Predict the network's input (B, 3, S, S), on the bundle's device. See `Predictor` for the options.

    Raises `InputError`, which names the `target`, where the source model gives no finite numbers.
    """
    with autocast(precision, images.device):
        both = predict_both(bundle.backbone, bundle.model, images, context)
        verdict, logits, parameters, share = _decided(bundle, both, guard, obeyed, precision, target)
    return Answer(logits, both.source, both.prediction, verdict, parameters, share)


def graph_answer(
    model: GraphModel, images: torch.Tensor, guard: Guard | None, *, obeyed: bool = True, target: str = ""
) -> GraphAnswer:
    """`answer` of an exported file. `guard` is the one in the graph, or None."""
    both = model.candidates(images)
    verdict, logits, _, share = _decided(model, both, guard, obeyed, "float32", target)
    return GraphAnswer(logits, both.source, verdict, share, lambda: both.change)


class Probabilities(NamedTuple):
    """What an answer to B images says of K classes, on the CPU."""

    adapted: torch.Tensor
    """(B, K) under the parameters that predicted."""
    labels: torch.Tensor
    """(B,): the class of each image."""
    source: torch.Tensor
    """(B, K) of the unadapted model."""
    source_labels: torch.Tensor
    """(B,)"""


def probabilities_of(found: Answer | GraphAnswer, temperatures: Temperatures) -> Probabilities:
    """The probabilities at `temperatures`. Labels are chosen without: none can change one, not even by rounding."""
    sides = (found.logits, temperatures.of(found.share)), (found.source, temperatures.of(0.0))
    (adapted, labels), (source, source_labels) = (
        ((logits / temperature).softmax(dim=1).cpu(), logits.softmax(dim=1).argmax(dim=1).cpu())
        for logits, temperature in sides
    )
    return Probabilities(adapted, labels, source, source_labels)


_P_co = TypeVar("_P_co", covariant=True)


class _Both(Protocol[_P_co]):
    """The two answers to a batch, and what a guard decides by."""

    @property
    def source(self) -> torch.Tensor: ...

    @property
    def signals(self) -> dict[str, float]: ...

    def under(self, verdict: Verdict) -> tuple[torch.Tensor, _P_co]: ...


def _decided(
    model: Described, both: _Both[_P_co], guard: Guard | None, obeyed: bool, precision: str, target: str
) -> tuple[Verdict, torch.Tensor, _P_co, float]:
    """The verdict, the logits and parameters that follow from it, and how much of these was generated."""
    if not both.source.isfinite().all():
        raise _no_numbers(model, precision, target)
    verdict = Verdict() if guard is None else guard.decide(both.signals)
    followed = verdict if obeyed else Verdict()
    logits, parameters = both.under(followed)
    if not logits.isfinite().all():  # no numbers are no answer, whatever was asked of the guard
        followed = verdict = Verdict(SOURCE, 0.0, verdict.signals, (OVERFLOW, *verdict.reasons))
        logits, parameters = both.under(verdict)
    return verdict, logits, parameters, followed.share


def _no_numbers(model: Described, precision: str, target: str) -> InputError:
    """The error for a source model that has no answer; there is nothing that could take its place."""
    hint = "Is it whole? gformer inspect --verify tells."
    if precision != "float32":
        hint = f"Without --precision {precision} it may. {hint}"
    return InputError(f"bundle {model.path} gives no finite numbers for images of {target}", hint)
