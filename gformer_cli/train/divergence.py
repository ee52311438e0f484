"""Training that has diverged: it stops at the first number that is not finite, before that reaches a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from gformer_cli.errors import WorkError
from gformer_cli.weights.torch_files import unusable


@dataclass
class Divergence:
    """What to say where the training of `model` has diverged. Every check raises `WorkError`."""

    model: str
    command: str
    """That trains it."""
    setting: str
    """The learning rate's."""
    value: float
    step: int | None = field(default=None, init=False)
    """The last that was looked at; None before training and after."""

    def check_loss(self, step: int, loss: float, what: str = "the loss") -> float:
        """`loss`, unless it is not finite."""
        self.step = step
        if not math.isfinite(loss):
            raise self._error(f"{what} is {loss}")
        return loss

    def check_state(self, step: int, state: Mapping[str, torch.Tensor]) -> None:
        """Weights may break while the loss is still finite: the last update has no loss after it."""
        self.step = step
        broken = unusable(state)
        if broken is not None:
            raise self._error(broken)

    def check_logits(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` on validation images: of what is not a number, the first class would count as the prediction."""
        if not bool(torch.isfinite(logits).all()):
            raise self._error("the answers to validation images are not finite")
        return logits

    def _error(self, what: str) -> WorkError:
        when = "" if self.step is None else f" at step {self.step}"
        return WorkError(
            f"training of the {self.model} diverged{when}: {what}",
            f"Run gformer {self.command} again with --overwrite and a lower {self.setting}: "
            f"it was {self.value:g}, so try --set {self.setting}={self.value / 10:g}",
        )
