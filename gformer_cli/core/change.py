"""How far a batch's parameters lie from the source's, and its statistics from those of training, in one number each."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.probe import statistic_shifts
from gformer_cli.core.statistics import mean_by_layer, owners

FIGURES = ("gamma", "beta", "mixing", "mixing_change", "mean_shift", "spread_shift")


@dataclass(frozen=True)
class Change:
    """Sizes of what was generated for one batch, on the CPU. L layers."""

    layers: torch.Tensor
    """(L, 6), the columns of `FIGURES`:

    - `gamma`, `beta`: root mean square of the residual of γ and of β, as shares of rms(γ_s). β is measured against
      γ as well: it shifts what γ spreads, and its own source values may be near zero.
    - `mixing`: the share of the batch's own statistics, and `mixing_change`, what was added to the probe's.
    - `mean_shift`, `spread_shift`: root mean square over channels of `probe.statistic_shifts`.
    """
    weight: float
    """rms(ΔW) / rms(W_s) of the classifier."""
    bias: float
    """rms(Δb) of the classifier, in logits."""


@torch.no_grad()
def measure_change(prediction: Prediction) -> Change:
    """The change of one batch, by one copy to the CPU."""
    return change_of(change_tensor(prediction))


def change_of(flat: torch.Tensor) -> Change:
    """The `Change` of a `change_tensor`."""
    flat = flat.cpu()
    return Change(flat[:-2].view(-1, len(FIGURES)), float(flat[-2]), float(flat[-1]))


def change_tensor(prediction: Prediction) -> torch.Tensor:
    """`Change` as one tensor (6 L + 2,): all layers together, so that it costs a few kernels."""
    probe, parameters = prediction.probe, prediction.parameters
    source = probe.source
    assert source.mix is not None
    gammas = torch.cat(source.gammas)
    sizes = [len(gamma) for gamma in source.gammas]
    moved, stretched = (torch.cat(parts) for parts in statistic_shifts(probe))
    values = [gammas, torch.cat(parameters.gammas) - gammas, torch.cat(parameters.betas) - torch.cat(source.betas)]
    squares = torch.stack([value.square() for value in (*values, moved, stretched)], dim=1)
    unit, gamma, beta, mean, spread = mean_by_layer(squares, owners(sizes, gammas.device), sizes).sqrt().unbind(dim=1)
    mix = torch.zeros_like(source.mix) if parameters.mix is None else parameters.mix
    tiny = torch.finfo(unit.dtype).tiny
    layers = torch.stack(
        [gamma / unit.clamp_min(tiny), beta / unit.clamp_min(tiny), mix, mix - source.mix, mean, spread], dim=1
    )
    weight = (parameters.weight - source.weight).norm() / source.weight.norm().clamp_min(tiny)
    bias = (parameters.bias - source.bias).square().mean().sqrt()
    return torch.cat([layers.flatten(), weight[None], bias[None]])
