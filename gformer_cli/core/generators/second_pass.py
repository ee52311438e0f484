"""Generation in two passes: a probe shows what to generate the layers from, the pass under them what to classify by."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from gformer_cli.core.context import Context
from gformer_cli.core.generators.base import Generator
from gformer_cli.core.generators.generation import generation_of
from gformer_cli.core.generators.single_pass import at_the_end
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe
from gformer_cli.core.session import Session


class SecondPass(Session):
    """A pass under parameters that were generated from a probe, but for the classifier: that comes last.

    It is generated from what the batch shows under the generated γ, β and mixing, and read under the source's
    classifier; the probe's classes are remembered beside it.

    Args:
        generator: one that `classifies_last`.
        probe: what the batch has shown to the source model, its context's images before its own.
        batch_size: images in the batch.
        context: earlier batches of the same domain, whose features and logits under their own generated parameters
            count as well.
    """

    def __init__(self, generator: Generator, probe: Probe, batch_size: int, context: Context | None = None) -> None:
        self.generation = generation_of(generator, probe, None if context is None else batch_size)
        self.context = context
        earlier = None if context is None else context.adapted
        super().__init__(self.generation.parameters(), earlier=earlier, observing=context is not None)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        self.features = features
        made, source = self.generation, self.generation.source
        self.logits = logits = F.linear(features, source.weight, source.bias)
        """Under the source's classifier, (B, K)."""
        if self.context is None:
            made.take(at_the_end(logits, features))
        else:
            made.take(at_the_end(*self.context.with_adapted(logits, features), len(logits)))
        return F.linear(features, made.weight, made.bias)

    def generated(self) -> Parameters:
        """θ_t, once the batch has passed."""
        return self.generation.parameters()
