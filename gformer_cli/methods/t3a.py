"""`t3a`: class templates from confident target features (Iwasawa and Matsuo, NeurIPS 2021).

The paper is "Test-Time Classifier Adjustment Module for Model-Agnostic Domain Generalization".
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.base import Method
from gformer_cli.methods.features import logits_and_features
from gformer_cli.methods.supports import Supports


class T3A(Method):
    """The classifier's rows become the centroids of a growing, then filtered, set of supports. No gradients.

    The network stays as it is, under source statistics. Class k begins with one support, its row of the source
    classifier. Each image of a batch joins the supports of the class that the source model predicts; of each class
    only the `supports` entries of lowest entropy stay. Supports have unit length. The logits of an image are the inner
    products of its features with the normalised centroids, after its own batch has joined. An entry's entropy is
    that of the source classifier's prediction for it, for the first rows as well.

    At most K · `supports` vectors are kept. The paper's further choice, to keep every support, is left out.

    Args:
        supports: the paper's M, the entries per class; the paper chooses among 1, 5, 20, 50, 100 and all by
            validation, 100 is the largest that is bounded.
    """

    tunable: ClassVar = {"supports": (1, 5, 20, 50, 100)}

    def __init__(self, backbone: Backbone, *, supports: int = 100) -> None:
        super().__init__(backbone)
        self.per_class = supports
        self.reset()

    def reset(self) -> None:
        self.supports = Supports(self.backbone, self.per_class)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits, features = logits_and_features(self.backbone, images)  # (B, K), (B, D)
        self.supports.add(features, logits)
        centroids = F.normalize(self.supports.members().T @ F.normalize(self.supports.features, dim=1), dim=1)  # (K, D)
        return features @ centroids.T
