"""What every generator shares: its interface, and how residuals become parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.losses import rms
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe
from gformer_cli.networks.norms import Statistics

Passed = tuple[torch.Tensor, Parameters, Probe, Sequence[Statistics] | None]


@dataclass(frozen=True)
class Residuals:
    """Δ, in units of the source's scale, so that one trained generator fits networks of any magnitude."""

    gammas: tuple[torch.Tensor, ...]
    """Per layer (C_l,), in units of rms(γ_l)."""
    betas: tuple[torch.Tensor, ...]
    """Per layer (C_l,), in units of rms(γ_l): a shift is measured against the spread that γ gives."""
    mix: torch.Tensor
    """(L,), added to the logit of the probe's mixing."""
    weight: torch.Tensor
    """(K, D), in units of rms(W)."""
    bias: torch.Tensor
    """(K,), in logits."""

    def plus(self, other: Residuals) -> Residuals:
        """The sum of two residuals on the same network."""
        return Residuals(
            gammas=tuple(ours + theirs for ours, theirs in zip(self.gammas, other.gammas, strict=True)),
            betas=tuple(ours + theirs for ours, theirs in zip(self.betas, other.betas, strict=True)),
            mix=self.mix + other.mix,
            weight=self.weight + other.weight,
            bias=self.bias + other.bias,
        )

    def added_to(self, source: Parameters) -> Parameters:
        """θ_t = θ_s + Δ."""
        assert source.mix is not None
        affine = [
            moved_affine(gamma, beta, d_gamma, d_beta, rms(gamma))
            for gamma, beta, d_gamma, d_beta in zip(source.gammas, source.betas, self.gammas, self.betas, strict=True)
        ]
        weight, bias = moved_classifier(source.weight, source.bias, self.weight, self.bias)
        return Parameters(
            gammas=tuple(gamma for gamma, _ in affine),
            betas=tuple(beta for _, beta in affine),
            mix=moved_mix(source.mix, self.mix),
            weight=weight,
            bias=bias,
        )


Pair = tuple[torch.Tensor, torch.Tensor]


def moved_affine(
    gamma: torch.Tensor, beta: torch.Tensor, d_gamma: torch.Tensor, d_beta: torch.Tensor, unit: torch.Tensor
) -> Pair:
    """γ and β of one layer, (C,) both, with their residuals added, which are in units of rms(γ), `unit`."""
    return gamma + unit * d_gamma, beta + unit * d_beta


def moved_mix(mix: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """A mixing of any shape with a residual added to its logit."""
    start = torch.logit(mix, eps=1e-4)
    # written as a difference so that a zero residual keeps the mixing to the last bit
    return (mix + (torch.sigmoid(start + delta) - torch.sigmoid(start))).clamp(0.0, 1.0)


def moved_classifier(weight: torch.Tensor, bias: torch.Tensor, d_weight: torch.Tensor, d_bias: torch.Tensor) -> Pair:
    """W (K, D) and b (K,) with their residuals added."""
    return weight + rms(weight) * d_weight, bias + d_bias


RESIDUAL_SCALE = 0.1
"""Of γ, β, W and b: Adam moves every weight of a head at once, and at full scale one step would change all
parameters by a tenth of their size. The mixing has to travel far and keeps its full scale."""


@dataclass(frozen=True)
class Scope:
    """Which parameters are generated; the others stay the source's."""

    bn: bool = True
    """γ and β."""
    classifier: bool = True
    """W and b."""
    bias: bool = True
    """b, where the classifier is generated."""
    mixing: bool = True
    """The mixing of batch and source statistics; without it, the probe's n / (n + N) stays."""
    last_layers: int | None = None
    """γ and β of so many BatchNorm layers nearest to the classifier; None for all."""

    def generates_layer(self, index: int, count: int) -> bool:
        """Whether γ and β of BatchNorm layer `index` of `count` are generated."""
        return self.bn and (self.last_layers is None or index >= count - self.last_layers)

    def limit(self, residuals: Residuals) -> Residuals:
        """`residuals` with a zero for whatever is not generated."""
        count = len(residuals.gammas)

        def of_layers(parts: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            return tuple(where(self.generates_layer(index, count), part) for index, part in enumerate(parts))

        def where(wanted: bool, part: torch.Tensor) -> torch.Tensor:
            return part if wanted else torch.zeros_like(part)

        return Residuals(
            gammas=of_layers(residuals.gammas),
            betas=of_layers(residuals.betas),
            mix=where(self.mixing, residuals.mix),
            weight=where(self.classifier, residuals.weight),
            bias=where(self.classifier and self.bias, residuals.bias),
        )


@dataclass(frozen=True)
class Reads:
    """Which ingredients a generator reads beside the source parameters."""

    gradients: bool = True
    """Gradient features: they cost the probe a backward pass."""
    statistics: bool = True
    """How far each layer's batch statistics lie from the source's."""
    features: bool = True
    """The batch's features before the classifier."""


class Generator(nn.Module, ABC):
    """Maps a probe of one target batch to the parameters that the batch is predicted with."""

    reads_gradients: bool = False
    """Whether the probe must pay for a backward pass."""
    reads_context: bool = False
    """Whether a single pass takes earlier batches into account; without, a context needs a probe."""

    def __init__(self, scope: Scope | None = None) -> None:
        super().__init__()
        self.scope = scope or Scope()

    @abstractmethod
    def residuals(self, probe: Probe) -> Residuals:
        """Δ for the probed batch; exactly zero while untrained."""

    def single_pass(
        self, backbone: Backbone, images: torch.Tensor, prior_count: float, context: Context | None
    ) -> Passed:
        """Logits (B, K) of images (B, 3, H, W), the parameters that gave them, what the one pass showed, and the
        statistics of earlier batches that it was pooled with.

        Raises `ValueError` for a generator that needs a probe first.
        """
        raise ValueError(f"{type(self).__name__} needs a probe")

    def forward(self, probe: Probe) -> Parameters:
        """θ_t = θ_s + Δ for the probed batch, Δ limited to the generator's scope."""
        return self.scope.limit(self.residuals(probe)).added_to(probe.source)


def zero_start(layer: nn.Linear) -> nn.Linear:
    """`layer` with weights and bias at zero: the start of every last projection."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def encoder(width: int, depth: int, heads: int, feed_forward: int) -> nn.TransformerEncoder:
    """A pre-norm transformer encoder over (1, tokens, `width`), without dropout: it must be deterministic."""
    if width % heads:
        raise ValueError(f"width {width} is not divisible by heads {heads}")
    block = nn.TransformerEncoderLayer(
        width, heads, feed_forward, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    return nn.TransformerEncoder(block, depth, enable_nested_tensor=False)


POSITIONS = 8
"""Sines and cosines of a layer's relative depth."""


def positions(layers: int, device: torch.device) -> torch.Tensor:
    """Relative depth 0..1 of each layer in sines and cosines, (L, POSITIONS)."""
    depth = torch.linspace(0.0, 1.0, layers, device=device)[:, None]
    angles = depth * math.pi * 2.0 ** torch.arange(POSITIONS // 2, device=device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)
