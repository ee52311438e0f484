"""The methods that an exported file answers: it holds no network that another method could adapt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch

from gformer_cli.evaluate.cost import Counter
from gformer_cli.export.model import GraphCandidates, GraphModel
from gformer_cli.guard.rule import Verdict


class GraphMethod:
    """One of the answers of an exported file, in the place of a `Method`. It has no state and prepares nothing.

    Args:
        model: the file.
        answer: of what the file says of a batch, the logits (B, K) of this method.
        passes: counts the images that go through the file.
    """

    reads_source: ClassVar[bool] = False
    ask_once: ClassVar[bool] = False

    def __init__(self, model: GraphModel, answer: Callable[[GraphCandidates], torch.Tensor], passes: Counter) -> None:
        self.model = model
        self.answer = answer
        self.passes = passes

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of a preprocessed batch (B, 3, S, S)."""
        self.passes.forwards += len(images)
        return self.answer(self.model.candidates(images))

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        """Nothing: no answer of a file depends on what it saw before."""

    def reset(self) -> None:
        """Nothing, likewise."""


def graph_methods(model: GraphModel, passes: Counter) -> dict[str, GraphMethod]:
    """Every method that `model` answers, by its name among `METHODS`."""
    guard = model.guard
    answers: dict[str, Callable[[GraphCandidates], Any]] = {
        "source": lambda both: both.source,
        "gformer": lambda both: both.under(Verdict())[0],
    }
    if guard is not None:
        answers["gformer-guard"] = lambda both: both.under(guard.decide(both.signals))[0]
    return {name: GraphMethod(model, answer, passes) for name, answer in answers.items()}
