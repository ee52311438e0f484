"""The constant generator: learned residuals that are the same for every batch."""

from __future__ import annotations

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators.base import Generator, Observed, Residuals, Scope, Step
from gformer_cli.core.parameters import Parameters


class ConstantGenerator(Generator):
    """The same residuals for every batch. It is the control: what another gains beyond it is what generation is worth.
    Another generator can also generate on top of it.

    `shape_of` gives the number of channels, layers and classes: unlike `ChannelGenerator`, it fits only
    backbones of that shape.
    """

    layer_by_layer = True

    def __init__(self, shape_of: Backbone, *, scope: Scope | None = None) -> None:
        super().__init__(scope)
        source = shape_of.source_parameters()
        self.gammas = nn.ParameterList(torch.zeros_like(gamma) for gamma in source.gammas)
        self.betas = nn.ParameterList(torch.zeros_like(beta) for beta in source.betas)
        self.mix = nn.Parameter(torch.zeros(len(source.gammas)))
        self.weight = nn.Parameter(torch.zeros_like(source.weight))
        self.bias = nn.Parameter(torch.zeros_like(source.bias))

    def begin(self, source: Parameters, batch_size: int) -> Step:
        return self._of

    def _of(self, observed: Observed) -> Residuals:
        layers, classes = observed.layers, observed.logits is not None
        return Residuals(
            gammas=tuple(self.gammas[index] for index in layers),
            betas=tuple(self.betas[index] for index in layers),
            mix=self.mix[layers.start : layers.stop],
            weight=self.weight if classes else None,
            bias=self.bias if classes else None,
        )
