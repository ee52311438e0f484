"""`eata`: entropy minimisation on chosen samples, held near the source (Niu et al. 2022, arXiv 2204.02610)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies, pseudo_label_cross_entropy
from gformer_cli.methods.affine import affine, trainable_affine
from gformer_cli.methods.base import Method

RENEWED = 0.1
"""Share of the latest batch in the moving average of the chosen samples' predictions (eq. 4)."""


class Eata(Method):
    """Batch statistics; one SGD step a batch on γ and β, on those samples that are reliable and not redundant.

    Reliable: entropy E below E0 (eq. 3). Not redundant: cosine similarity below ε between the sample's prediction
    and the moving average of the chosen samples' predictions (eqs. 4, 5). Loss (eq. 8): the mean over the chosen of
    exp(E0 - E) E, the factor taken as a constant, plus the penalty Σ F (θ - θ_source)². A batch without chosen
    samples changes nothing. The predictions are those before the step, as in the authors' code.

    F is the diagonal Fisher information of γ and β (eq. 9), which `prepare` estimates on source images with the
    model's own arg-max as labels; as in the authors' code, from the gradient of each batch's mean, so it depends on
    the batch size (theirs was 64). Without `prepare` there is no penalty: the authors call that ETA.

    Defaults are the paper's for CIFAR-10, whose class count is nearer to most folders'. For ImageNet the paper has
    learning_rate 2.5e-4, similarity 0.5 (its ε is 0.05) and fisher_weight 2000.

    Args:
        learning_rate: of SGD.
        momentum: of SGD.
        entropy_margin: E0 in units of ln K, the entropy of a uniform prediction over the K classes.
        similarity: ε at ten classes; it is scaled by √(10 / K), since a confident prediction and an even mix of K
            classes have the similarity 1 / √K: a fixed ε of 0.4 would let nothing pass among four classes.
        fisher_weight: β of eq. 8.
    """

    reads_source: ClassVar[bool] = True
    without_source: ClassVar[str] = "is ETA, which nothing holds near the source model"
    tunable: ClassVar = {
        "learning_rate": (2.5e-4, 1e-3, 5e-3),
        "similarity": (0.35, 0.4, 0.5),
        "fisher_weight": (1.0, 50.0, 2000.0),
    }

    def __init__(
        self,
        backbone: Backbone,
        *,
        learning_rate: float = 5e-3,
        momentum: float = 0.9,
        entropy_margin: float = 0.4,
        similarity: float = 0.4,
        fisher_weight: float = 1.0,
    ) -> None:
        super().__init__(backbone)
        classes = self.backbone.num_classes
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.max_entropy = entropy_margin * math.log(classes)
        self.max_similarity = similarity * math.sqrt(10 / classes)
        self.fisher_weight = fisher_weight
        self.fisher: list[torch.Tensor] | None = None
        self.reset()

    @torch.enable_grad()
    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        start = trainable_affine(self.backbone)
        tensors = affine(start)
        squares = [torch.zeros_like(tensor) for tensor in tensors]
        count = 0
        for images in batches:
            loss = pseudo_label_cross_entropy(self.backbone(images, start))
            for square, gradient in zip(squares, torch.autograd.grad(loss, tensors), strict=True):
                square.add_(gradient.square())
            count += 1
        self.fisher = [square / count for square in squares] if count else None

    def reset(self) -> None:
        self.parameters = trainable_affine(self.backbone)
        self.optimizer = torch.optim.SGD(affine(self.parameters), lr=self.learning_rate, momentum=self.momentum)
        self.average: torch.Tensor | None = None  # of the chosen samples' predictions, (K,)

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.backbone(images, self.parameters)  # (B, K)
        entropy = entropies(logits)  # (B,)
        chosen = self._choose(logits.detach().softmax(dim=1), entropy.detach())
        if chosen.any():
            weights = (self.max_entropy - entropy.detach()).exp()
            loss = (weights * entropy)[chosen].mean() + self.fisher_weight * self._penalty()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return logits.detach()  # type: ignore[no-any-return]

    def _choose(self, probabilities: torch.Tensor, entropy: torch.Tensor) -> torch.Tensor:
        """Which samples (B,) of predictions (B, K) and entropies (B,) to learn from; these enter the average."""
        chosen = entropy < self.max_entropy
        if self.average is not None:
            chosen &= F.cosine_similarity(probabilities, self.average[None], dim=1) < self.max_similarity
        if chosen.any():
            mean = probabilities[chosen].mean(dim=0)  # (K,)
            self.average = mean if self.average is None else torch.lerp(self.average, mean, RENEWED)
        return chosen

    def _penalty(self) -> torch.Tensor:
        """Σ F (θ - θ_source)² over γ and β of all layers: scalar."""
        now, source = affine(self.parameters), affine(self.backbone.source_parameters())
        if self.fisher is None:
            return now[0].new_zeros(())
        moved = [(f * (a - b).square()).sum() for f, a, b in zip(self.fisher, now, source, strict=True)]
        return torch.stack(moved).sum()
