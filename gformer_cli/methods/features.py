"""The source model's features beside its logits, for the methods that compare images with one another."""

from __future__ import annotations

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone


def logits_and_features(backbone: Backbone, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, K) of the plain forward pass and the classifier's input (B, D).

    `Backbone.observe` gives them too, but also computes each layer's batch statistics, which nobody reads here.
    """
    seen: list[torch.Tensor] = []

    def keep(_module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0])

    handle = backbone.classifier.register_forward_pre_hook(keep)
    try:
        logits: torch.Tensor = backbone(images)
    finally:
        handle.remove()
    return logits, seen[-1]
