"""The source model's features beside its logits, for the methods that compare images with one another."""

from __future__ import annotations

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.session import Session


def logits_and_features(backbone: Backbone, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, K) of the plain forward pass and the classifier's input (B, D).

    `Backbone.observe` gives them too, but also computes each layer's batch statistics, which nobody reads here.
    """
    session = Session(backbone.source_parameters())
    logits = session.run(backbone.network, images)
    assert session.features is not None
    return logits, session.features
