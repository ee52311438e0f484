"""Normalisation layers that the pass they are in may adapt: BatchNorm, LayerNorm and GroupNorm behind one interface.

A layer shows the batch's statistics per channel to the pass (`Pass`), and is told γ, β and the statistics to normalise
with. It keeps nothing of that: a pass is handed along in a context variable, so that threads may share one network.

Mixing of BatchNorm's statistics is Schneider et al. 2020 (arXiv 2006.16971), with a weight that may be generated per
layer. LayerNorm and GroupNorm have no statistics of the source. What their normalised output shows per channel on
source images stands in for these, once recorded (`core.backbone.Backbone.record`): mixing moves the batch's onto it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn
from torch.nn import functional as F

Moments = tuple[torch.Tensor, torch.Tensor]
"""Mean and biased variance per channel, (C,) both."""
_EPSILON = 1e-5
"""In the ratio of two variances of normalised output."""
_LIBRARIES = ("torch.", "torchvision.", "timm.", "transformers.")


class Affine(NamedTuple):
    """How one layer normalises in one pass."""

    gamma: torch.Tensor
    """(C,)"""
    beta: torch.Tensor
    statistics: Moments | None
    """What to normalise with; None for the layer's own."""


class Pass(Protocol):
    """What a layer asks of the pass that it is in."""

    def normalise(self, layer: AdaptiveNorm, measure: Callable[[], Moments]) -> Affine:
        """How `layer` is to normalise; `measure` computes the batch's statistics where they are wanted."""

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of features (B, D)."""


_CURRENT: ContextVar[Pass | None] = ContextVar("pass", default=None)


def current_pass() -> Pass | None:
    """The pass that this thread is in; None for a plain one."""
    return _CURRENT.get()


@contextmanager
def within(one: Pass) -> Iterator[None]:
    """Whatever a network computes inside belongs to this pass."""
    token = _CURRENT.set(one)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class AdaptiveNorm(nn.Module):
    """A normalisation layer with γ (`weight`), β (`bias`) and source statistics of C channels.

    In training, and in a plain pass, it does what it did before it was made adaptive. An activation that it holds
    (timm's `BatchNormAct2d`: `drop`, then `act`) comes after it as before.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: torch.Tensor
    running_var: torch.Tensor
    index: int
    """Its place among the adaptive layers of its network."""
    family = ""
    """`BatchNorm`, `LayerNorm` or `GroupNorm`."""
    of_batch = False
    """Whether training normalises with the batch's statistics, as BatchNorm does."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        one = None if self.training else current_pass()
        return self.activated(self._plain(input) if one is None else self._adapted(input, one))

    def activated(self, output: torch.Tensor) -> torch.Tensor:
        """What the layer's own activation, if it holds one, makes of its normalised `output`."""
        for name in ("drop", "act"):
            after = getattr(self, name, None)
            if after is not None:
                output = after(output)
        return output

    def mixed(self, batch: Moments, mix: torch.Tensor) -> Moments:
        """(1 - mix) · source + mix · batch, of means and of variances; `mix` is a scalar in [0, 1]."""
        mean, var = batch
        mix = mix.to(mean.dtype)
        return torch.lerp(self.running_mean, mean, mix), torch.lerp(self.running_var, var, mix)

    def _plain(self, input: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _adapted(self, input: torch.Tensor, one: Pass) -> torch.Tensor:
        raise NotImplementedError


class _AdaptiveBatchNorm(AdaptiveNorm):
    """(B, C, ...) is normalised with mixed statistics in the place of the running ones."""

    family = "BatchNorm"
    of_batch = True
    eps: float

    def _adapted(self, input: torch.Tensor, one: Pass) -> torch.Tensor:
        gamma, beta, statistics = one.normalise(self, lambda: batch_statistics(input))
        if statistics is None:
            return F.batch_norm(input, self.running_mean, self.running_var, gamma, beta, False, 0.0, self.eps)
        mean, var = statistics
        scale = gamma * torch.rsqrt(var + self.eps)
        return scale_and_shift(input, scale, beta - mean * scale)


class AdaptiveBatchNorm1d(_AdaptiveBatchNorm, nn.BatchNorm1d):  # type: ignore[misc]  # torch allows for no statistics
    """Of (B, C) or (B, C, N)."""

    def _plain(self, input: torch.Tensor) -> torch.Tensor:
        return nn.BatchNorm1d.forward(self, input)


class AdaptiveBatchNorm2d(_AdaptiveBatchNorm, nn.BatchNorm2d):  # type: ignore[misc]
    """Of (B, C, H, W)."""

    def _plain(self, input: torch.Tensor) -> torch.Tensor:
        return nn.BatchNorm2d.forward(self, input)


class AdaptiveSyncBatchNorm(_AdaptiveBatchNorm, nn.SyncBatchNorm):  # type: ignore[misc]
    """Of (B, C, ...); in training its statistics are those of all processes."""

    def _plain(self, input: torch.Tensor) -> torch.Tensor:
        return nn.SyncBatchNorm.forward(self, input)


class _Recorded(AdaptiveNorm):
    """A layer that normalises each image by itself; the statistics are those of its output before γ and β."""

    def _adapted(self, input: torch.Tensor, one: Pass) -> torch.Tensor:
        input = self._to_layout(input)
        standard: list[torch.Tensor] = []  # made where it is wanted: a pass that reads no statistics needs none

        def measure() -> Moments:
            standard.append(self._standardise(input, None, None))
            return self._moments(standard[0])

        gamma, beta, statistics = one.normalise(self, measure)
        if statistics is None:
            return self._from_layout(self._standardise(input, gamma, beta))
        output = standard[0] if standard else self._standardise(input, None, None)
        mean, var = statistics
        scale = gamma * ((self.running_var + _EPSILON) / (var + _EPSILON)).sqrt()
        shift = beta + gamma * self.running_mean - mean * scale
        return self._from_layout(self._scaled(output, scale, shift))

    def _plain(self, input: torch.Tensor) -> torch.Tensor:
        return self._from_layout(self._standardise(self._to_layout(input), self.weight, self.bias))

    def _to_layout(self, input: torch.Tensor) -> torch.Tensor:
        return input

    def _from_layout(self, output: torch.Tensor) -> torch.Tensor:
        return output

    def _standardise(self, input: torch.Tensor, gamma: torch.Tensor | None, beta: torch.Tensor | None) -> torch.Tensor:
        raise NotImplementedError

    def _moments(self, output: torch.Tensor) -> Moments:
        raise NotImplementedError

    def _scaled(self, output: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class AdaptiveLayerNorm(_Recorded, nn.LayerNorm):
    """Over the last axis of (B, ..., C)."""

    family = "LayerNorm"

    def _standardise(self, input: torch.Tensor, gamma: torch.Tensor | None, beta: torch.Tensor | None) -> torch.Tensor:
        return F.layer_norm(input, self.normalized_shape, gamma, beta, self.eps)

    def _moments(self, output: torch.Tensor) -> Moments:
        if output.dtype in (torch.bfloat16, torch.float16):
            output = output.float()
        axes = tuple(range(output.dim() - 1))
        if torch.compiler.is_compiling():  # as in `batch_statistics`; what is normalised has nothing to cancel
            mean = output.mean(dim=axes)
            return mean, (output.square().mean(dim=axes) - mean.square()).clamp_min(0.0)
        var, mean = torch.var_mean(output, dim=axes, correction=0)
        return mean, var

    def _scaled(self, output: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return torch.addcmul(shift, output, scale)


class AdaptiveLayerNorm2d(AdaptiveLayerNorm):
    """Over the channels of (B, C, H, W), as in ConvNeXt."""

    def _to_layout(self, input: torch.Tensor) -> torch.Tensor:
        return input.permute(0, 2, 3, 1)

    def _from_layout(self, output: torch.Tensor) -> torch.Tensor:
        return output.permute(0, 3, 1, 2)


class AdaptiveConvNextLayerNorm(AdaptiveLayerNorm2d):
    """transformers': over the channels of (B, C, H, W) where it says so, else over the last axis."""

    data_format: str

    def _to_layout(self, input: torch.Tensor) -> torch.Tensor:
        return super()._to_layout(input) if self.data_format == "channels_first" else input

    def _from_layout(self, output: torch.Tensor) -> torch.Tensor:
        return super()._from_layout(output) if self.data_format == "channels_first" else output


class AdaptiveGroupNorm(_Recorded, nn.GroupNorm):
    """Over groups of the channels of (B, C, ...)."""

    family = "GroupNorm"

    def _standardise(self, input: torch.Tensor, gamma: torch.Tensor | None, beta: torch.Tensor | None) -> torch.Tensor:
        return F.group_norm(input, self.num_groups, gamma, beta, self.eps)

    def _moments(self, output: torch.Tensor) -> Moments:
        return batch_statistics(output)

    def _scaled(self, output: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return scale_and_shift(output, scale, shift)


_KINDS: dict[str, tuple[type[nn.Module], type[AdaptiveNorm]]] = {
    "BatchNorm1d": (nn.BatchNorm1d, AdaptiveBatchNorm1d),
    "BatchNorm2d": (nn.BatchNorm2d, AdaptiveBatchNorm2d),
    "BatchNormAct2d": (nn.BatchNorm2d, AdaptiveBatchNorm2d),
    "SyncBatchNorm": (nn.SyncBatchNorm, AdaptiveSyncBatchNorm),
    "LayerNorm": (nn.LayerNorm, AdaptiveLayerNorm),
    "LayerNormAct": (nn.LayerNorm, AdaptiveLayerNorm),
    "LayerNorm2d": (nn.LayerNorm, AdaptiveLayerNorm2d),
    "LayerNormAct2d": (nn.LayerNorm, AdaptiveLayerNorm2d),
    "ConvNextLayerNorm": (nn.Module, AdaptiveConvNextLayerNorm),  # a LayerNorm in later releases alone
    "ConvNextV2LayerNorm": (nn.Module, AdaptiveConvNextLayerNorm),
    "GroupNorm": (nn.GroupNorm, AdaptiveGroupNorm),
    "GroupNorm1": (nn.GroupNorm, AdaptiveGroupNorm),
    "GroupNormAct": (nn.GroupNorm, AdaptiveGroupNorm),
}
"""By the name of the class, as torch, torchvision, timm and transformers have them."""


def make_adaptive(network: nn.Module) -> tuple[dict[str, AdaptiveNorm], dict[str, str]]:
    """Make the normalisation layers of `network` adaptive, in place: their class changes, and nothing that they hold.

    Returns the adaptive layers by their name in the state dict, in the order of their definition, and the reason for
    each layer that normalises and cannot be adapted. LayerNorm and GroupNorm gain buffers for what is recorded of
    source images.
    """
    adaptive: dict[str, AdaptiveNorm] = {}
    left: dict[str, str] = {}
    stored_name = getattr(network, "stored_name", str)  # some write other names than those of their modules
    for name, module in network.named_modules():
        if not isinstance(module, AdaptiveNorm):
            reason = _obstacle(module)
            if reason is not None:
                if reason:
                    left[stored_name(name)] = reason
                continue
            module = _changed(module)  # noqa: PLW2901
        module.index = len(adaptive)
        adaptive[stored_name(name)] = module
        if not isinstance(module, _AdaptiveBatchNorm):
            _keep_called(network, name)
    return adaptive, left


def _obstacle(module: nn.Module) -> str | None:
    """None for a layer that can be made adaptive, "" for what is no normalisation, else what is in the way."""
    kind = type(module)
    if "norm" not in kind.__name__.lower():
        return ""
    known = _KINDS.get(kind.__name__)
    own = [name for name, _ in module.named_parameters(recurse=False)]
    if known is None or not isinstance(module, known[0]) or not kind.__module__.startswith(_LIBRARIES):
        # a whole block may be called after the norm that it begins with, and one that scales pixels after what it does
        return f"{kind.__name__} is of no known kind" if own or kind.__module__.startswith("torch.nn.") else ""
    if getattr(module, "weight", None) is None or getattr(module, "bias", None) is None:
        return f"{kind.__name__} has no scale and shift of its own"
    if issubclass(known[1], _AdaptiveBatchNorm) and not module.track_running_stats:
        return f"{kind.__name__} keeps no running statistics"
    if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) != 1:
        return f"{kind.__name__} normalises over {len(module.normalized_shape)} axes"
    return None


def _changed(module: nn.Module) -> AdaptiveNorm:
    module.__class__ = _KINDS[type(module).__name__][1]
    assert isinstance(module, AdaptiveNorm)
    if isinstance(module, _Recorded):
        module.register_buffer("running_mean", torch.zeros_like(module.weight.detach()))
        module.register_buffer("running_var", torch.ones_like(module.weight.detach()))
    return module


def _keep_called(network: nn.Module, name: str) -> None:
    """torch's own transformer layers have a fused path that passes their norms by, but not where one has a hook."""
    parent, _, own = name.rpartition(".")
    holder = network.get_submodule(parent)
    if isinstance(holder, nn.TransformerEncoderLayer):
        holder.get_submodule(own).register_forward_pre_hook(_nothing)


def _nothing(_module: nn.Module, _inputs: Any) -> None:
    return None


def batch_statistics(input: torch.Tensor) -> Moments:
    """Mean and biased variance per channel of (B, C), (B, C, N) or (B, C, H, W): two tensors (C,).

    No Bessel's correction: a batch of one image and one position must not give NaN. Inputs of half precision give
    float32: moments would cancel in 8 bits.
    """
    if input.dtype in (torch.bfloat16, torch.float16):
        input = input.float()
    while input.dim() < 4:
        input = input.unsqueeze(-1)
    if torch.compiler.is_compiling():  # a graph keeps no autograd functions; in ONNX a variance takes four sweeps
        mean = input.mean(dim=(0, 2, 3))
        return mean, (input.square().mean(dim=(0, 2, 3)) - mean.square()).clamp_min(0.0)
    found: Moments = _Moments.apply(input)
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
        return scale_and_shift(input, scale, share * to_mean - scale * mean)

    @staticmethod
    def vmap(_info: Any, in_dims: tuple[int], input: torch.Tensor) -> tuple[Any, tuple[int, int]]:
        input = input.movedim(in_dims[0], 0)
        mean = input.mean(dim=(1, 3, 4))
        second = input.square().mean(dim=(1, 3, 4))
        return (mean, (second - mean.square()).clamp_min(0.0)), (0, 0)


def scale_and_shift(input: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """input (B, C, ...) * scale (C,) + shift (C,) by the fused kernel of BatchNorm with mean 0 and variance 1."""
    zero, one = torch.zeros_like(scale.detach()), torch.ones_like(scale.detach())
    # not `F.batch_norm`: some releases of torch refuse an epsilon of 0 there, and the kernel takes it
    return torch.batch_norm(input, scale, shift, zero, one, False, 0.0, 0.0, False)
