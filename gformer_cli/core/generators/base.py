"""What every generator shares: its interface, and how residuals become parameters."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from gformer_cli.core.gradients import GradientFeatures
from gformer_cli.core.losses import rms
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Observed:
    """What a pass has shown of some layers, and of the classes if it has come to them."""

    layers: range
    """Which, by their place in the network."""
    source: tuple[Pair, ...]
    """Per layer the source's mean and variance, (C_l,) both."""
    batch: tuple[Pair, ...]
    """Likewise the batch's."""
    gradients: GradientFeatures | None = None
    """Of the same layers, and of the classifier where the classes are shown."""
    logits: torch.Tensor | None = None
    """(B, K) under the source's classifier; None before the classes are shown."""
    features: torch.Tensor | None = None
    """(B, D), where there are logits."""
    own: int | None = None
    """How many of the B images are the batch's own, the last ones; None for all. The others are its context's."""
    last: bool = False
    """Whether logits and features are those under the generated parameters, and nothing is shown afterwards."""

    @classmethod
    def all_of(cls, probe: Probe, own: int | None = None) -> Observed:
        """Everything that a probe shows, at once; `own` images of it are the batch's."""
        return cls(
            layers=range(len(probe.means)),
            source=tuple(zip(probe.source_means, probe.source_variances, strict=True)),
            batch=tuple(zip(probe.means, probe.variances, strict=True)),
            gradients=probe.gradients,
            logits=probe.logits,
            features=probe.features,
            own=own,
        )


@dataclass(frozen=True)
class Residuals:
    """Δ of some layers, and of the classifier where the classes were shown.

    In units of the source's scale, so that one trained generator fits networks of any magnitude.
    """

    gammas: tuple[torch.Tensor, ...]
    """Per layer (C_l,), in units of rms(γ_l)."""
    betas: tuple[torch.Tensor, ...]
    """Per layer (C_l,), in units of rms(γ_l): a shift is measured against the spread that γ gives."""
    mix: torch.Tensor
    """Per layer, added to the logit of the mixing at the start."""
    weight: torch.Tensor | None = None
    """(K, D), in units of rms(W)."""
    bias: torch.Tensor | None = None
    """(K,), in logits."""
    trust: torch.Tensor | None = None
    """Share of all this, and of the mixing, that the batch is given, a scalar in [0, 1]; None for everything."""

    def plus(self, other: Residuals) -> Residuals:
        """The sum of two residuals; of the classifier where both have it."""
        return Residuals(
            gammas=tuple(ours + theirs for ours, theirs in zip(self.gammas, other.gammas, strict=True)),
            betas=tuple(ours + theirs for ours, theirs in zip(self.betas, other.betas, strict=True)),
            mix=self.mix + other.mix,
            weight=None if self.weight is None or other.weight is None else self.weight + other.weight,
            bias=None if self.bias is None or other.bias is None else self.bias + other.bias,
            trust=self.trust,
        )


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
    """The mixing of batch and source statistics; without it, n / (n + N) stays."""
    last_layers: int | None = None
    """γ and β of so many normalisation layers nearest to the classifier; None for all."""

    def generates_layer(self, index: int, count: int) -> bool:
        """Whether γ and β of layer `index` of `count` are generated."""
        return self.bn and (self.last_layers is None or index >= count - self.last_layers)


@dataclass(frozen=True)
class Reads:
    """Which ingredients a generator reads beside the source parameters."""

    gradients: bool = True
    """Gradient features: they cost the probe a backward pass."""
    statistics: bool = True
    """How far each layer's batch statistics lie from the source's."""
    features: bool = True
    """The batch's features before the classifier."""
    class_shares: bool = False
    """The shares of the classes in the batch, apart from those in its context, and how they correct the bias."""


Step = Callable[[Observed], Residuals]
"""From what a pass has shown next to the residuals of just that. It may remember what it was shown before."""


class Generator(nn.Module, ABC):
    """Makes the parameters that a target batch is predicted with from what the batch shows."""

    reads_gradients: bool = False
    """Whether a probe must pay for a backward pass."""
    reads_context: bool = False
    """Whether a single pass takes earlier batches into account; without, a context needs a probe."""
    layer_by_layer: bool = False
    """Whether it can generate on the way of a single pass; else everything must have been shown before."""
    probed_classes: bool = False
    """Whether it reads a probe's classes and then generates on the way of a pass; else everything from the probe."""
    constant: Generator | None
    """What is generated comes on top of its residuals, which look at nothing."""

    def __init__(self, scope: Scope | None = None) -> None:
        super().__init__()
        self.scope = scope or Scope()
        self.constant = None

    @abstractmethod
    def begin(self, source: Parameters, batch_size: int) -> Step:
        """How to generate for one batch of `batch_size` images, on the source parameters; zero while untrained.

        What a `Step` returns does not regard `scope` and `constant`: `generation.Generation` does.
        """

    def residuals(self, probe: Probe) -> Residuals:
        """Δ from a probe that has shown everything, on top of no constant and whatever the scope."""
        return self.begin(probe.source, probe.logits.shape[0])(Observed.all_of(probe))


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
