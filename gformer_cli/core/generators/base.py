"""What every generator shares: its interface, and how residuals become parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import nn

from gformer_cli.core.losses import rms
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe


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

    def added_to(self, source: Parameters) -> Parameters:
        """θ_t = θ_s + Δ."""
        assert source.mix is not None
        start = torch.logit(source.mix, eps=1e-4)
        units = [rms(gamma) for gamma in source.gammas]
        return Parameters(
            gammas=tuple(s + u * d for s, u, d in zip(source.gammas, units, self.gammas, strict=True)),
            betas=tuple(s + u * d for s, u, d in zip(source.betas, units, self.betas, strict=True)),
            # written as a difference so that a zero residual keeps the probe's mixing to the last bit
            mix=(source.mix + (torch.sigmoid(start + self.mix) - torch.sigmoid(start))).clamp(0.0, 1.0),
            weight=source.weight + rms(source.weight) * self.weight,
            bias=source.bias + self.bias,
        )


class Generator(nn.Module, ABC):
    """Maps a probe of one target batch to the parameters that the batch is predicted with."""

    reads_gradients: bool = False
    """Whether the probe must pay for a backward pass."""

    @abstractmethod
    def residuals(self, probe: Probe) -> Residuals:
        """Δ for the probed batch; exactly zero while untrained."""

    def forward(self, probe: Probe) -> Parameters:
        """θ_t = θ_s + Δ for the probed batch."""
        return self.residuals(probe).added_to(probe.source)
