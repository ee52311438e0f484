"""The head of a network: the linear layer, or 1x1 convolution, whose output is the logits. It is found by looking."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.networks.norms import current_pass

_SIZES = (32, 64, 224)
"""Of images that a network is tried with, where nobody says what it takes."""


class Head(nn.Module):
    """A linear layer whose weights the pass that it is in may replace."""

    weight: nn.Parameter
    bias: nn.Parameter

    @property
    def matrix(self) -> torch.Tensor:
        """W, (K, D): the layer's own values."""
        return self.weight.flatten(1)

    @property
    def num_classes(self) -> int:
        return len(self.weight)


class LinearHead(Head, nn.Linear):  # type: ignore[misc]  # torch has plain tensors here
    """Features (B, D) to logits (B, K)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        one = None if self.training else current_pass()
        return F.linear(input, self.weight, self.bias) if one is None else one.classify(input)


class ConvolutionHead(Head, nn.Conv2d):  # type: ignore[misc]
    """Features (B, D, 1, 1) to logits (B, K, 1, 1)."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        one = None if self.training else current_pass()
        if one is None:
            return nn.Conv2d.forward(self, input)
        if input.shape[2:] != (1, 1):
            raise InputError(f"the head is given {input.shape[2]} x {input.shape[3]} positions", "Pool them first.")
        return one.classify(input.flatten(1))[:, :, None, None]


def make_head(network: nn.Module, name: str) -> Head:
    """Make the layer `name` a `Head`, in place; without a bias it gains one of zeros.

    Raises `InputError` where there is no such layer, or it is not linear.
    """
    layers = dict(network.named_modules())
    layer = layers.get(name)
    if isinstance(layer, Head):
        return layer
    if layer is None or not _is_linear(layer):
        linear = [other for other, module in layers.items() if _is_linear(module)]
        what = f"has no layer {name!r}" if layer is None else f"has a {type(layer).__name__} as {name!r}"
        raise InputError(
            f"{type(network).__name__} {what}, so it cannot be the head",
            did_you_mean(name, linear) + f"Its linear layers: {', '.join(linear[-5:]) or 'none'}.",
        )
    layer.__class__ = LinearHead if isinstance(layer, nn.Linear) else ConvolutionHead
    assert isinstance(layer, Head)
    if layer.bias is None:
        layer.bias = nn.Parameter(layer.weight.new_zeros(len(layer.weight)))
    return layer


def find_head(network: nn.Module, image_size: int | None = None) -> str:
    """The name of the layer whose output is what the network answers, found by running it on two images.

    Raises `InputError` where no linear layer is that, and whatever the network raises for images of `image_size`.
    """
    linear: dict[str, nn.Module] = {name: module for name, module in network.named_modules() if _is_linear(module)}
    if linear:
        outputs, answer = _outputs(network, linear, image_size)
        for name, output in reversed(outputs):
            if isinstance(answer, torch.Tensor) and _same(output, answer):
                return name
    named = f"Its linear layers: {', '.join(list(linear)[-5:])}. " if linear else ""
    raise InputError(
        f"{type(network).__name__} has no linear classifier: no linear layer's output is its answer",
        f"{named}The answer must be that of an nn.Linear or a 1x1 convolution. Or name it: --set backbone.head=NAME",
    )


def last_linear(network: nn.Module) -> str:
    """The name of the `nn.Linear` that is defined last. Raises `InputError` where there is none."""
    names: list[str] = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise InputError(f"{type(network).__name__} has no linear classifier", "Its last layer must be an nn.Linear.")
    return names[-1]


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.stride == (1, 1) and module.groups == 1
    return isinstance(module, nn.Linear)


@torch.no_grad()
def _outputs(
    network: nn.Module, linear: dict[str, nn.Module], image_size: int | None
) -> tuple[list[tuple[str, torch.Tensor]], Any]:
    """What each of the layers gave, in the order of the calls, and the network's answer."""
    outputs: list[tuple[str, torch.Tensor]] = []
    modes = {module: module.training for module in network.modules()}
    example = next(network.parameters())
    sizes = _SIZES if image_size is None else (image_size,)
    with ExitStack() as stack:
        for name, module in linear.items():
            hook = module.register_forward_hook(lambda _m, _i, output, name=name: outputs.append((name, output)))
            stack.callback(hook.remove)
        network.eval()
        try:
            for size in sizes:
                outputs.clear()
                images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
                try:
                    return outputs, network(images.to(example))
                except Exception:
                    if size == sizes[-1]:
                        raise
        finally:
            for module, training in modes.items():
                module.training = training
    raise AssertionError("a network is tried with one size at least")


def _same(output: torch.Tensor, answer: torch.Tensor) -> bool:
    return output is answer or (output.numel() == answer.numel() and torch.equal(output.reshape(answer.shape), answer))
