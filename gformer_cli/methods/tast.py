"""`tast`: nearest neighbours among confident features, seen through learnt projections (Jang et al. 2023).

The paper is "Test-Time Adaptation via Self-Training with Nearest Neighbor Information", arXiv 2207.10792.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.base import Method
from gformer_cli.methods.features import logits_and_features
from gformer_cli.methods.supports import Supports

SCALE = 10.0
"""τ, of the cosines between projected features and prototypes."""


class Tast(Method):
    """The network stays; `heads` random projections of its features learn from each image's nearest supports.

    The images of a batch join a memory of confident features, as in `t3a`. Each projection h (section 3.2) has class
    prototypes, the mean of h over a class's supports, and predicts by the softmax of 10 times the cosine to them.

    - *Prediction*: the mean over an image's `neighbours` nearest supports, by the cosine of the features as they are,
      and over the projections, of what these predict for the supports.
    - *Pseudo-label*, per projection: the share of those supports that it gives each class.
    - *Training*: `steps` Adam steps on the projections, on the divergence of what they predict for the batch from its
      pseudo-labels, averaged over images and classes and summed over projections.

    The prediction is that before the last step, its logarithm the logits. No gradient enters the network.

    The projections to a quarter of the features share one matrix: h_e(x) = c_e ∘ (W (a_e ∘ x)) + b_e. It is the
    authors' code, but that row k of the classifier is of class k, where they ask the classifier. The paper chooses
    supports, neighbours and steps by validation; the defaults are among its choices.

    Args:
        heads: projections.
        supports: entries per class.
        neighbours: of an image, at most as many as entries per class.
        steps: per batch.
        learning_rate: of Adam.
        seed: of the projections.
    """

    tunable: ClassVar = {"supports": (5, 20, 100), "neighbours": (1, 2, 4, 8), "steps": (1, 3)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        heads: int = 20,
        supports: int = 100,
        neighbours: int = 4,
        steps: int = 1,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        self.heads = heads
        self.per_class = supports
        self.neighbours = min(neighbours, supports)
        self.steps = steps
        self.learning_rate = learning_rate
        self.seed = seed
        self.reset()

    def reset(self) -> None:
        self.supports = Supports(self.backbone, self.per_class)
        size = self.supports.features.shape[1]
        self.projections = Projections(self.supports.features, self.heads, max(1, size // 4), self.seed)
        self.optimizer = torch.optim.Adam(self.projections.tensors, lr=self.learning_rate)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits, features = logits_and_features(self.backbone, images)  # (B, K), (B, D)
        self.supports.add(features, logits)
        near = self._nearest(features)  # (B, n)
        for _ in range(self.steps):
            prediction = self._step(features, near)
        return prediction.log()

    def _nearest(self, features: torch.Tensor) -> torch.Tensor:
        cosine = F.normalize(features, dim=1) @ F.normalize(self.supports.features, dim=1).T  # (B, N)
        return cosine.topk(min(self.neighbours, cosine.shape[1]), dim=1).indices

    @torch.enable_grad()
    def _step(self, features: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        """A step for images (B, D) with nearest supports (B, n); the prediction before it, (B, K)."""
        with torch.no_grad():
            among = self._logits(self.supports.features)  # (E, N, K)
            labels = F.one_hot(among.argmax(dim=2), among.shape[2]).to(among.dtype)
            wanted = labels[:, near].mean(dim=2)  # (E, B, K)
            prediction = among.softmax(dim=2)[:, near].mean(dim=2).mean(dim=0)
        losses = F.kl_div(self._logits(features).log_softmax(dim=2), wanted, reduction="none")
        self.optimizer.zero_grad(set_to_none=True)
        losses.mean(dim=(1, 2)).sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return prediction

    def _logits(self, features: torch.Tensor) -> torch.Tensor:
        """Of each projection: (E, B, K) for features (B, D)."""
        members = self.supports.members()
        prototypes = (members / members.sum(dim=0)).T @ self.projections(self.supports.features)  # (E, K, H)
        seen = F.normalize(self.projections(features), dim=2)
        return SCALE * seen @ F.normalize(prototypes, dim=2).transpose(1, 2)


class Projections:
    """E maps of features (N, D) to (N, H), which share one matrix: (E, N, H).

    Args:
        like: features (N, D), whose type and device the weights take.
        count: E.
        size: H.
        seed: of the weights, which are drawn as He et al. (2015) do; the offsets are 0.
    """

    def __init__(self, like: torch.Tensor, count: int, size: int, seed: int) -> None:
        width = like.shape[1]
        generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device draws alike

        def drawn(rows: int, columns: int) -> torch.Tensor:
            normal = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
            return (math.sqrt(2 / columns) * normal).to(like).requires_grad_(True)

        self.matrix = drawn(size, width)
        self.before = drawn(count, width)
        self.after = drawn(count, size)
        self.offset = like.new_zeros(count, size).requires_grad_(True)
        self.tensors = [self.matrix, self.before, self.after, self.offset]

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        mapped = (features * self.before[:, None]) @ self.matrix.T  # (E, N, H)
        return mapped * self.after[:, None] + self.offset[:, None]
