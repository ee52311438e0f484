"""The methods that an exported file answers: it holds no network that another method could adapt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import torch

from gformer_cli.evaluate.cost import Counter
from gformer_cli.export.model import GraphCandidates, GraphModel
from gformer_cli.guard.rule import SOURCE, Verdict


class GraphMethod:
    """One of the answers of an exported file, in the place of a `Method`. It has no state and prepares nothing.

    Args:
        model: the file.
        verdict: of what the file says of a batch, what predicts it.
        passes: counts the images that go through the file.
    """

    reads_source: ClassVar[bool] = False
    ask_once: ClassVar[bool] = False

    def __init__(self, model: GraphModel, verdict: Callable[[GraphCandidates], Verdict], passes: Counter) -> None:
        self.model = model
        self.verdict = verdict
        self.share: float | None = None
        """As `Method.share`."""
        self.passes = passes

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of a preprocessed batch (B, 3, S, S)."""
        self.passes.forwards += len(images)
        both = self.model.candidates(images)
        verdict = self.verdict(both)
        self.share = verdict.share
        return both.under(verdict)[0]

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        """Nothing: no answer of a file depends on what it saw before."""

    def reset(self) -> None:
        """Nothing, likewise."""


def graph_methods(model: GraphModel, passes: Counter) -> dict[str, GraphMethod]:
    """Every method that `model` answers, by its name among `METHODS`."""
    guard = model.guard
    verdicts: dict[str, Callable[[GraphCandidates], Verdict]] = {
        "source": lambda _: Verdict(SOURCE, 0.0),
        "gformer": lambda _: Verdict(),
    }
    if guard is not None:
        verdicts["gformer-guard"] = lambda both: guard.decide(both.signals)
    return {name: GraphMethod(model, verdict, passes) for name, verdict in verdicts.items()}
