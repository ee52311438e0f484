"""`em-prior`: predictions corrected by the shares of classes that a batch seems to have (Saerens et al. 2002).

The paper is "Adjusting the Outputs of a Classifier to New a Priori Probabilities", Neural Computation 14(1).
"""

from __future__ import annotations

from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods import Method


class EMPrior(Method):
    """The source model predicts; expectation maximisation finds the batch's shares q of the classes.

    From even shares, `steps` times: p_ik ∝ q_k · source's p_ik, then q_k = mean of p_ik over the batch. The prediction
    is the last p. It takes the source to have all classes alike, and has no state.

    Args:
        steps: of expectation maximisation.
    """

    tunable: ClassVar = {"steps": (1, 10, 100)}

    def __init__(self, backbone: Backbone, *, steps: int = 10) -> None:
        super().__init__(backbone)
        self.steps = steps

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        source = self.backbone(images).log_softmax(dim=1)  # (B, K)
        corrected = source
        for _ in range(self.steps):
            share = corrected.exp().mean(dim=0)  # (K,)
            corrected = (source + share.log()).log_softmax(dim=1)
        return corrected
