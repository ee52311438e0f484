"""The answer to one batch of the network's input: what predicts it, and how far that is trusted."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.compute.device import autocast
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.parameters import Parameters
from gformer_cli.errors import InputError
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

    @property
    def overflown(self) -> bool:
        """Whether what was generated gave no finite numbers."""
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
        if not both.source.isfinite().all():
            raise _no_numbers(bundle, precision, target)
        verdict = Verdict() if guard is None else guard.decide(both.signals)
        logits, parameters = both.under(verdict if obeyed else Verdict())
        if not logits.isfinite().all():  # no numbers are no answer, whatever was asked of the guard
            verdict = Verdict(SOURCE, 0.0, verdict.signals, (OVERFLOW, *verdict.reasons))
            logits, parameters = both.under(verdict)
    return Answer(logits, both.source, both.prediction, verdict, parameters)


def _no_numbers(bundle: Bundle, precision: str, target: str) -> InputError:
    """The error for a source model that has no answer; there is nothing that could take its place."""
    hint = "Is it whole? gformer inspect --verify tells."
    if precision != "float32":
        hint = f"Without --precision {precision} it may. {hint}"
    return InputError(f"bundle {bundle.path} gives no finite numbers for images of {target}", hint)
