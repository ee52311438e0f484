"""How far a batch's parameters lie from the source's, and its statistics from those of training, in one number each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.probe import statistic_shifts

FIGURES = ("gamma", "beta", "mixing", "mixing_change", "mean_shift", "spread_shift")


@dataclass(frozen=True)
class Change:
    """Sizes of what was generated for one batch, on the CPU. L BatchNorm layers."""

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
    """The change of one batch. All layers together, so that it costs a few kernels and one copy to the CPU."""
    seen, made = prediction.seen, prediction.parameters
    source = seen.source
    assert source.mix is not None
    gammas = torch.cat(source.gammas)
    counts = [len(gamma) for gamma in source.gammas]
    moved, stretched = (torch.cat(parts) for parts in statistic_shifts(seen))
    values = [gammas, torch.cat(made.gammas) - gammas, torch.cat(made.betas) - torch.cat(source.betas)]
    sums = layer_sums([value.square() for value in (*values, moved, stretched)], counts)
    unit, gamma, beta, mean, spread = (sums / sums.new_tensor(counts)).sqrt()
    mix = torch.zeros_like(source.mix) if made.mix is None else made.mix
    tiny = torch.finfo(unit.dtype).tiny
    layers = torch.stack(
        [gamma / unit.clamp_min(tiny), beta / unit.clamp_min(tiny), mix, mix - source.mix, mean, spread], dim=1
    )
    weight = (made.weight - source.weight).norm() / source.weight.norm().clamp_min(tiny)
    bias = (made.bias - source.bias).square().mean().sqrt()
    flat = torch.cat([layers.flatten(), weight[None], bias[None]]).cpu()
    return Change(flat[:-2].view(-1, len(FIGURES)), float(flat[-2]), float(flat[-1]))


def layer_sums(values: Sequence[torch.Tensor], sizes: Sequence[int]) -> torch.Tensor:
    """Sums over the channels of each layer: F tensors (ΣC,) to (F, L)."""
    device = values[0].device
    owner = torch.repeat_interleave(torch.arange(len(sizes), device=device), torch.tensor(sizes, device=device))
    empty = values[0].new_zeros(len(values), len(sizes))
    sums: torch.Tensor = empty.index_add(1, owner, torch.stack(list(values)))
    return sums
