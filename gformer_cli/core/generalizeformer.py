"""GeneralizeFormer: probe a batch, generate its parameters, predict it with them. No labels, no state of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generators import Generator
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Economy, Probe, prior_mix, probe
from gformer_cli.networks.norms import Statistics


@dataclass(frozen=True)
class Prediction:
    """What one target batch got."""

    logits: torch.Tensor
    """(B, K) under the generated parameters."""
    parameters: Parameters
    """θ_t, generated for this batch and for no other; or those of a static model, the same for every batch."""
    seen: Probe
    """What they were generated from."""
    earlier: Sequence[Statistics] | None = None
    """Per layer the earlier statistics that this batch's were pooled with, where there is a context."""


class GeneralizeFormer(nn.Module):
    """The method as one module around its generator. Source models are passed in, never stored or changed.

    Args:
        generator: turns what a batch shows into parameters.
        prior_count: how many images the source statistics count as where mixing starts (`probe.prior_mix`).
        single_pass: generate while the batch passes, instead of probing the source model with it first.
        economy: what that probe leaves out.
    """

    def __init__(
        self, generator: Generator, *, prior_count: float, single_pass: bool = False, economy: Economy | None = None
    ) -> None:
        super().__init__()
        self.economy = economy or Economy()
        self.single_pass = single_pass
        self.generator = generator
        self.prior_count = prior_count

    def forward(self, backbone: Backbone, images: torch.Tensor, context: Context | None = None) -> Prediction:
        """Predict a batch (B, 3, H, W) with the parameters generated for it, from the images alone.

        With `context`, from what these images and those of the last batches showed together; the batch then becomes
        a part of `context`, and is probed whole. Differentiable in the generator's weights.
        """
        if self.single_pass and (context is None or self.generator.reads_context):
            return Prediction(*self.generator.single_pass(backbone, images, self.prior_count, context))
        same = context is not None or self.economy.whole  # are the images that are probed those that are predicted?
        with backbone.sharing_stem() if same else nullcontext():
            return self._probed(backbone, images, context)

    def _probed(self, backbone: Backbone, images: torch.Tensor, context: Context | None) -> Prediction:
        if context is None:
            seen = self._probe(backbone, self.economy.part_of(images), None)
            if not self.economy.whole:  # the mixing starts from the batch that is predicted, not from the part
                start = prior_mix(backbone, len(images), self.prior_count)
                seen = replace(seen, source=seen.source.with_mix(start))
            parameters: Parameters = self.generator(seen)
            return Prediction(backbone(images, parameters), parameters, seen)
        seen = self._probe(backbone, images, context.probed)
        if context.jumps_to(seen):
            context.forget()
            seen = self._probe(backbone, images, None)
        together = context.with_earlier(seen)
        parameters = self.generator(together)
        earlier = context.adapted
        logits, shown = backbone.observe(images, parameters, earlier)
        context.remember(seen, shown)
        return Prediction(logits, parameters, together, earlier)

    def _probe(self, backbone: Backbone, images: torch.Tensor, earlier: Sequence[Statistics] | None) -> Probe:
        reads = self.generator.reads_gradients
        return probe(
            backbone,
            images,
            prior_count=self.prior_count,
            gradients=reads,
            gradient_layers=self.economy.gradient_layers,
            earlier=earlier,
        )
