"""BatchNorm that can mix the batch's statistics into the source's.

Mixing is Schneider et al. 2020 (arXiv 2006.16971), with a weight that may be generated per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.nn import functional as F

Observer = Callable[[torch.Tensor, torch.Tensor], None]
Adapter = Callable[
    [torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
]


@dataclass(frozen=True)
class Statistics:
    """What one layer saw of some images, all of one size."""

    count: int
    """Images."""
    mean: torch.Tensor
    """(C,)"""
    variance: torch.Tensor
    """Biased, (C,)."""


def pool(parts: Sequence[Statistics]) -> Statistics:
    """The statistics of all images of `parts` together: exact, by the law of total variance."""
    count = sum(part.count for part in parts)
    shares = [part.count / count for part in parts]
    mean = torch.stack([share * part.mean for share, part in zip(shares, parts, strict=True)]).sum(dim=0)
    spread = [share * (part.variance + (part.mean - mean).square()) for share, part in zip(shares, parts, strict=True)]
    return Statistics(count, mean, torch.stack(spread).sum(dim=0))


class MixedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with a mixing weight; same parameters, same state dict, same training behaviour.

    In eval mode an input (B, C, H, W) is normalised with

        mean = (1 - mix) * running_mean + mix * batch_mean
        var  = (1 - mix) * running_var  + mix * batch_var        (biased, as BatchNorm itself normalises)

    and with `earlier`, batch_mean and batch_var are those of its images and the input's together.

    `mix` is a 0-dim tensor in [0, 1], or None (the default) for source statistics alone: then the layer is
    exactly `nn.BatchNorm2d` in eval mode. It is a buffer so that `torch.func.functional_call` can put a
    generated one in place; it is never saved.

    timm's BatchNorm layers hold their activation (`BatchNormAct2d`: `drop`, then `act`); such a layer keeps it.
    """

    mix: torch.Tensor | None
    running_mean: torch.Tensor
    running_var: torch.Tensor
    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum, affine=True, track_running_stats=True)
        self.register_buffer("mix", None, persistent=False)
        self.drop: nn.Module | None = None
        self.act: nn.Module | None = None
        self.observer: Observer | None = None
        """Called with the batch's own (mean, variance), both (C,), in each eval-mode pass."""
        self.adapter: Adapter | None = None
        """Called likewise; returns the (γ, β, mix) and the (mean, variance) that this pass is normalised with."""
        self.earlier: Statistics | None = None
        """Statistics of earlier images of the same domain, that the batch's are pooled with."""

    @classmethod
    def from_batchnorm(cls, layer: nn.BatchNorm2d) -> MixedBatchNorm2d:
        """A layer with the same parameters and buffers (shared, not copied)."""
        mixed = cls(layer.num_features, layer.eps, layer.momentum)
        mixed.train(layer.training)
        mixed.weight, mixed.bias = layer.weight, layer.bias
        assert layer.running_mean is not None and layer.running_var is not None
        mixed.running_mean, mixed.running_var = layer.running_mean, layer.running_var
        mixed.num_batches_tracked = layer.num_batches_tracked
        mixed.drop, mixed.act = getattr(layer, "drop", None), getattr(layer, "act", None)
        return mixed

    @staticmethod
    def can_replace(module: nn.Module) -> TypeGuard[nn.BatchNorm2d]:
        """Whether `module` is BatchNorm, perhaps with an activation, that has parameters and statistics."""
        if not isinstance(module, nn.BatchNorm2d) or isinstance(module, MixedBatchNorm2d):
            return False
        known = type(module) is nn.BatchNorm2d or type(module).__name__ == "BatchNormAct2d"
        return known and module.affine and module.track_running_stats

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output = self._normalise(input)
        for after in (self.drop, self.act):
            if after is not None:
                output = after(output)
        return output

    def _normalise(self, input: torch.Tensor) -> torch.Tensor:
        if self.training:
            return super().forward(input)
        if self.mix is None and self.observer is None and self.adapter is None:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        mean, var = batch_statistics(input)
        if self.observer is not None:
            self.observer(mean.detach(), var.detach())
        gamma: torch.Tensor = self.weight
        beta: torch.Tensor = self.bias
        mix = self.mix
        if self.adapter is not None:
            gamma, beta, mix, mean, var = self.adapter(mean, var)
        elif self.earlier is not None:
            together = pool([self.earlier, Statistics(len(input), mean, var)])
            mean, var = together.mean, together.variance
        if mix is None:
            mean, var = self.running_mean, self.running_var
        else:
            mean = torch.lerp(self.running_mean, mean, mix.to(mean.dtype))
            var = torch.lerp(self.running_var, var, mix.to(var.dtype))
        scale = gamma * torch.rsqrt(var + self.eps)
        shift = beta - mean * scale
        return _scale_and_shift(input, scale, shift)


def batch_statistics(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and biased variance per channel of (B, C, H, W): two tensors (C,).

    No Bessel's correction: a batch of one image and one position must not give NaN. Inputs of half precision give
    float32: moments would cancel in 8 bits.
    """
    if input.dtype in (torch.bfloat16, torch.float16):
        input = input.float()
    found: tuple[torch.Tensor, torch.Tensor] = _Moments.apply(input)
    return found


class _Moments(torch.autograd.Function):
    """Mean and biased variance per channel in one or two sweeps forward, and one sweep backward.

    Of the library's ways each is fast in one memory format and slow in the other: a factor of 4 to 60.
    """

    @staticmethod
    def forward(input: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if input.is_contiguous():
            mean = input.mean(dim=(0, 2, 3))
            norms = torch.linalg.vector_norm(input.flatten(2), dim=2)  # (B, C)
            second = norms.square().sum(dim=0) * (input.shape[1] / input.numel())
            return mean, (second - mean.square()).clamp_min(0.0)
        mean, variance = torch.ops.aten.batch_norm_update_stats(input, None, None, 0.0)
        return mean, variance

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        ctx.save_for_backward(inputs[0], output[0])

    @staticmethod
    def backward(ctx: Any, to_mean: torch.Tensor, to_variance: torch.Tensor) -> torch.Tensor:
        input, mean = ctx.saved_tensors
        share = mean.numel() / input.numel()
        scale = 2.0 * share * to_variance
        return _scale_and_shift(input, scale, share * to_mean - scale * mean)

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[int], input: torch.Tensor) -> tuple[Any, tuple[int, int]]:
        input = input.movedim(in_dims[0], 0)
        mean = input.mean(dim=(1, 3, 4))
        second = input.square().mean(dim=(1, 3, 4))
        return (mean, (second - mean.square()).clamp_min(0.0)), (0, 0)


def _scale_and_shift(input: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """input (B, C, H, W) * scale (C,) + shift (C,) by the fused kernel of BatchNorm with mean 0 and variance 1."""
    zero, one = torch.zeros_like(scale.detach()), torch.ones_like(scale.detach())
    return F.batch_norm(input, zero, one, scale, shift, training=False, momentum=0.0, eps=0.0)
