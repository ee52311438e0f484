"""`tsd`: features learn to agree with prototypes of confident ones (Wang et al., CVPR 2023, arXiv 2303.10902)."""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.session import Session
from gformer_cli.methods.base import Method
from gformer_cli.methods.supports import Supports


class TSD(Method):
    """Batch statistics; one Adam step a batch on all weights, so that prototypes classify as the classifier does.

    A memory keeps confident features by class, as `t3a` does; a prototype is the sum of a class's features of unit
    length. The loss is the Kullback-Leibler divergence KL(t ‖ s) per image, with t the softmax over classes of the
    inner products of the image's features with the prototypes, and s the classifier's prediction, held constant. The
    batch itself is in the memory by then. The predictions are the classifier's before the step.

    This is what the authors' code computes by default, and it is not all that the paper says: features and prototypes
    are scaled to a sum of absolute values of 1, where the paper has the cosine; s is the softmax of probabilities; the
    paper's second loss, on local clusters, has weight 0; there is no filter by consistency. Their memory labels the
    classifier's rows by what it predicts for them, here row k is of class k.

    Args:
        learning_rate: of Adam.
        supports: entries per class.
    """

    tunable: ClassVar = {"learning_rate": (1e-5, 1e-4, 1e-3), "supports": (1, 5, 20, 50, 100)}

    def __init__(self, backbone: Backbone, *, learning_rate: float = 1e-4, supports: int = 100) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.per_class = supports
        self.reset()

    def reset(self) -> None:
        self.adapted = copy.deepcopy(self.backbone).requires_grad_(True)
        self.optimizer = torch.optim.Adam(self.adapted.parameters(), lr=self.learning_rate)
        self.supports = Supports(self.backbone, self.per_class)

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        session = Session(self.adapted.mixing_batchnorm(1.0))
        logits = session.run(self.adapted.network, images)  # (B, K)
        features = session.features  # (B, D)
        assert features is not None
        self.supports.add(features.detach(), logits.detach())
        prototypes = self.supports.members().T @ F.normalize(self.supports.features, dim=1)  # (K, D)
        agreement = F.normalize(features, p=1.0, dim=1) @ F.normalize(prototypes, p=1.0, dim=1).T  # (B, K)
        predicted = logits.detach().softmax(dim=1).log_softmax(dim=1)
        self.optimizer.zero_grad(set_to_none=True)
        F.kl_div(predicted, agreement.log_softmax(dim=1), reduction="batchmean", log_target=True).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return logits.detach()
