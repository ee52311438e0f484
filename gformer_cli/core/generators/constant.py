"""A learned residual that looks at nothing: the control, and what a `ChannelGenerator` can generate on top of."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generators.base import Generator, Passed, Residuals, Scope
from gformer_cli.core.probe import Probe, prior_mix, probe_from


class ConstantGenerator(Generator):
    """The same residuals for every batch. What a generator gains beyond this is what generation is worth.

    `shape_of` gives the number of channels, layers and classes: unlike `ChannelGenerator`, it fits only
    backbones of that shape.
    """

    def __init__(self, shape_of: Backbone, *, scope: Scope | None = None) -> None:
        super().__init__(scope)
        source = shape_of.source_parameters()
        self.gammas = nn.ParameterList(torch.zeros_like(gamma) for gamma in source.gammas)
        self.betas = nn.ParameterList(torch.zeros_like(beta) for beta in source.betas)
        self.mix = nn.Parameter(torch.zeros(len(source.gammas)))
        self.weight = nn.Parameter(torch.zeros_like(source.weight))
        self.bias = nn.Parameter(torch.zeros_like(source.bias))

    def residuals(self, probe: Probe) -> Residuals:
        return self.learned()

    def single_pass(
        self, backbone: Backbone, images: torch.Tensor, prior_count: float, context: Context | None
    ) -> Passed:
        assert context is None
        source = backbone.source_parameters().detached().with_mix(prior_mix(backbone, len(images), prior_count))
        parameters = self.scope.limit(self.learned()).added_to(source)
        logits, seen = backbone.observe(images, parameters)
        assert seen.features is not None
        under_source = F.linear(seen.features, source.weight, source.bias)
        return logits, parameters, probe_from(backbone, source, seen, under_source), None

    def learned(self) -> Residuals:
        """Δ of every batch; exactly zero while untrained."""
        return Residuals(tuple(self.gammas), tuple(self.betas), self.mix, self.weight, self.bias)
