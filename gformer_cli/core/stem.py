"""The part of a network below its first BatchNorm layer: the same for every θ, so once for each batch is enough."""

from __future__ import annotations

import torch
from torch import nn


class RememberedConvolution:
    """The forward of `convolution`, which keeps what it gave for its first input and gives it for that one again.

    It is the tensor itself that has to come back, unchanged (`Tensor._version`), not one of the same values; and a
    result that was changed in place since, or that gradients flow through, is made anew. So the result is always what
    the convolution would give, and a network that prepares its images in a way of its own merely gains nothing.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        self.compute = convolution.forward
        self._known: tuple[torch.Tensor, int, torch.Tensor, int] | None = None
        """The input and the output, each with the version that was seen."""

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        if self._known is not None:
            seen, version, output, made = self._known
            if input is seen and input._version == version and output._version == made:
                return output
            return self.compute(input)
        output = self.compute(input)
        if not (output.requires_grad or output.is_inference() or input.is_inference()):  # those have no version
            self._known = input, input._version, output, output._version
        return output
