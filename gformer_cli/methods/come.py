"""`come`: Tent on opinions that may stay undecided (Zhang et al. 2025, arXiv 2410.10894)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies
from gformer_cli.methods.affine import affine, trainable_affine
from gformer_cli.methods.base import Method


class Come(Method):
    """Batch statistics; one SGD step a batch on γ and β to lower the entropy of the batch's opinions.

    Logits x are read as evidence e^x of a Dirichlet distribution (section 3). The opinion has K beliefs
    e^{x_k} / (Σ e^x + K) and the uncertainty K / (Σ e^x + K), which sum to 1; the loss is the mean of its entropy over
    these K + 1. The length of x is held constant in the gradient, x / ‖x‖ · ‖x‖ with the last factor detached, so that
    nothing is gained by being surer of everything. The predictions are those before the step.

    It is the authors' `Tent_COME`; they put the same loss into EATA and SAR. Their code has 1000 for K, and adds 1e-7
    to each belief.

    Args:
        learning_rate: of SGD, the authors' for ResNets and batches of 64.
        momentum: of SGD.
    """

    tunable: ClassVar = {"learning_rate": (2.5e-4, 1e-3, 5e-3)}

    def __init__(self, backbone: Backbone, *, learning_rate: float = 2.5e-4, momentum: float = 0.9) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.reset()

    def reset(self) -> None:
        self.parameters = trainable_affine(self.backbone)
        self.optimizer = torch.optim.SGD(affine(self.parameters), lr=self.learning_rate, momentum=self.momentum)

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.backbone(images, self.parameters)  # (B, K)
        self.optimizer.zero_grad(set_to_none=True)
        opinion_entropies(logits).mean().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return logits.detach()  # type: ignore[no-any-return]


def opinion_entropies(logits: torch.Tensor) -> torch.Tensor:
    """Entropy, in nats, of each image's opinion: (B,) for logits (B, K); no gradient changes their length."""
    length = logits.norm(dim=1, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny)
    held = logits / length * length.detach()
    undecided = torch.full_like(held[:, :1], math.log(logits.shape[1]))
    return entropies(torch.cat([held, undecided], dim=1))
