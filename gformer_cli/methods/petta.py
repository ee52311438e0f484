"""`petta`: RoTTA that senses how far it has strayed, and holds back (Hoang et al. 2024, arXiv 2311.18193)."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies
from gformer_cli.methods.augmentations import Augmentation, jitter_views
from gformer_cli.methods.base import Method, Parts
from gformer_cli.methods.cotta import follow
from gformer_cli.methods.features import ClassMoments, class_moments, labelled_features, logits_and_features
from gformer_cli.methods.rotta import BalancedMemory, moving_statistics
from gformer_cli.methods.self_training import consistency

FOLLOWED = 0.05
"""Share of a batch's mean features in the moving ones of a class."""
_EPSILON = 1e-6
"""Added to variances that divide."""


class Petta(Method):
    """A teacher predicts; after each batch a student takes one Adam step on γ and β, on a memory as RoTTA's.

    Statistics move by `alpha` to those of the memory, in student, teacher and a copy of the source that has nothing
    else to learn. The loss (eq. 6) is the sum of

    - `consistency` of the student with the teacher, on the memory and on an augmented view of it;
    - the mean cross-entropy of the view's predictions to that copy's of the memory (anchor);
    - λ times the mean over γ and β of all layers of the negative cosine to the source's.

    Divergence (eq. 5): d = 1 - exp(-m), with m the mean over features, and over the classes that the batch shows, of
    (μ_t - μ)² / (σ² + 1e-6). μ and σ² are the source's of that class; μ_t follows the teacher's features of each
    predicted class by 0.05 a batch, after d is taken. Then λ = d `regularisation`, and the teacher's γ and β move by
    (1 - d) `nu` to the student's.

    `prepare` measures μ and σ² on source images by the source model's predicted classes, as in the authors' code; a
    class with fewer than two images says nothing there. Without it λ and the rate are those numbers themselves.

    It is the authors' code for CIFAR; for ImageNet they take the cross-entropy of the view alone for the consistency.

    Args:
        augment: draws the views, such as `jitter_views`.
        learning_rate: of Adam with betas 0.9 and 0.999.
        alpha: weight of the memory's statistics.
        nu: rate of the teacher without divergence.
        regularisation: λ at full divergence.
        capacity: images in the memory.
        seed: of the views.
    """

    reads_source: ClassVar[bool] = True
    without_source: ClassVar[str] = "cannot tell how far it has strayed"
    tunable: ClassVar = {"learning_rate": (1e-4, 1e-3, 5e-3), "alpha": (0.01, 0.05, 0.2), "nu": (0.001, 0.01)}

    def __init__(
        self,
        backbone: Backbone,
        augment: Augmentation,
        *,
        learning_rate: float = 1e-3,
        alpha: float = 0.05,
        nu: float = 0.001,
        regularisation: float = 10.0,
        capacity: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.nu = nu
        self.regularisation = regularisation
        self.capacity = capacity
        self.seed = seed
        self.augment = augment
        self.source: ClassMoments | None = None
        self.reset()

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Petta:
        return cls(parts.backbone, jitter_views(parts.preprocessing, mirrored=parts.mirrored), **settings)

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        features, labels = labelled_features(self.backbone, batches)
        self.source = class_moments(features, labels, self.backbone.num_classes) if len(features) else None
        self.reset()

    def reset(self) -> None:
        self.teacher, self.student, self.anchor = (copy.deepcopy(self.backbone) for _ in range(3))
        self.trained = [p.requires_grad_(True) for layer in self.student.layers for p in (layer.weight, layer.bias)]
        self.start = [tensor.detach().clone() for tensor in self.trained]
        self.optimizer = torch.optim.Adam(self.trained, lr=self.learning_rate)
        self.memory = BalancedMemory(self.capacity, self.backbone.num_classes, timeliness=1.0, uncertainty=1.0)
        self.means = None if self.source is None else self.source.means  # μ_t, (K, D)
        self.generator = torch.Generator().manual_seed(self.seed)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits, features = logits_and_features(self.teacher, images)  # (B, K), (B, D)
        labels = logits.argmax(dim=1)
        for image, label, entropy in zip(images, labels.tolist(), entropies(logits).tolist(), strict=True):
            self.memory.add(image, label, entropy)
        if self.source is None:
            weight, rate = self.regularisation, self.nu
        else:
            divergence = self._divergence(self.source, features, labels)
            weight, rate = divergence * self.regularisation, (1.0 - divergence) * self.nu
        self._step(weight)
        follow(self.teacher, self.student, rate)
        return logits

    def _divergence(self, source: ClassMoments, features: torch.Tensor, labels: torch.Tensor) -> float:
        """d, before the features (B, D) of classes `labels` (B,) move the means."""
        assert self.means is not None
        batch = class_moments(features, labels, self.backbone.num_classes)
        shown = batch.counts > 0
        known = shown & (source.counts > 1)
        strayed = ((self.means - source.means).square() / (source.variances + _EPSILON))[known]  # (n, D)
        moved = torch.lerp(self.means, batch.means, FOLLOWED)
        self.means = torch.where(shown[:, None], moved, self.means)
        return 1.0 - float((-strayed.mean()).exp()) if len(strayed) else 0.0

    @torch.enable_grad()
    def _step(self, regularisation: float) -> None:
        images, _ = self.memory.content()  # (N, 3, S, S)
        with torch.no_grad():
            taught = moving_statistics(self.teacher, images, self.alpha)  # (N, K)
            anchored = moving_statistics(self.anchor, images, self.alpha)
        logits = moving_statistics(self.student, images, self.alpha)
        view = moving_statistics(self.student, self.augment(images, self.generator), self.alpha)
        near = torch.stack([F.cosine_similarity(a, b, dim=0) for a, b in zip(self.trained, self.start, strict=True)])
        loss = consistency(logits, view, taught).mean() + F.cross_entropy(view, anchored.softmax(dim=1))
        self.optimizer.zero_grad(set_to_none=True)
        (loss - regularisation * near.mean()).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
