"""GeneralizeFormer: probe a batch, generate its parameters, predict it with them. No state, no labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import Generator
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, probe


@dataclass(frozen=True)
class Prediction:
    """What one target batch got."""

    logits: torch.Tensor
    """(B, K) under the generated parameters."""
    parameters: Parameters
    """θ_t, generated for this batch and for no other; or those of a static model, the same for every batch."""
    seen: Probe
    """What they were generated from."""


class GeneralizeFormer(nn.Module):
    """The method as one module around its generator. Source models are passed in, never stored or changed.

    Args:
        generator: turns what a batch shows into parameters.
        prior_count: how many images the source statistics count as where mixing starts (`probe.prior_mix`).
        single_pass: generate while the batch passes, instead of probing the source model with it first.
    """

    def __init__(self, generator: Generator, *, prior_count: float, single_pass: bool = False) -> None:
        super().__init__()
        self.single_pass = single_pass
        self.generator = generator
        self.prior_count = prior_count

    def forward(self, backbone: Backbone, images: torch.Tensor) -> Prediction:
        """Predict a batch (B, 3, H, W) with the parameters generated for it, from the images alone.

        Differentiable in the generator's weights.
        """
        if self.single_pass:
            return Prediction(*self.generator.single_pass(backbone, images, prior_count=self.prior_count))
        seen = probe(backbone, images, prior_count=self.prior_count, gradients=self.generator.reads_gradients)
        parameters: Parameters = self.generator(seen)
        return Prediction(backbone(images, parameters), parameters, seen)
