"""`cotta`: continual adaptation by a slow teacher and restored weights (Wang et al. 2022, arXiv 2203.13591)."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.augmentations import Augmentation, jitter_views
from gformer_cli.methods.base import Method, Parts


class Cotta(Method):
    """A student learns all its weights from the pseudo-labels of a teacher, its own moving average.

    Per batch, everything under batch statistics (section 3.2):

    1. Pseudo-labels are the teacher's logits. Where the source weights are unsure of the batch (mean of the largest
       probability below `threshold`), they are the mean of its logits over `copies` augmented views instead.
    2. The student takes one Adam step on its cross-entropy to them.
    3. teacher ← momentum · teacher + (1 - momentum) · student, weight by weight.
    4. Each single weight of the student returns to its source value with probability `restore`.

    A sure batch teaches nothing while teacher and student are equal, at the start: the gradient is zero but for
    rounding, of which Adam may make small random steps.

    The prediction is the pseudo-label of step 1, as in the authors' code. The student, the teacher and Adam's
    moments persist until `reset`; their size does not depend on the stream. For the views, see `jitter_views`.

    Args:
        augment: draws the views, such as `jitter_views`.
        learning_rate: of Adam with betas 0.9 and 0.999, the authors' for CIFAR.
        momentum: of the teacher.
        threshold: of the mean confidence. None follows the number of classes, see `default_threshold`.
        copies: views per batch, each a forward pass of the teacher. The authors use 32; 4 keep the cost near 8
            forward passes a batch instead of 36.
        restore: probability of step 4.
        seed: of the views and of the weights that are restored.
    """

    tunable: ClassVar = {"learning_rate": (1e-5, 1e-4, 1e-3), "restore": (0.001, 0.01, 0.1)}

    def __init__(
        self,
        backbone: Backbone,
        augment: Augmentation,
        *,
        learning_rate: float = 1e-3,
        momentum: float = 0.999,
        threshold: float | None = None,
        copies: int = 4,
        restore: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.threshold = default_threshold(self.backbone.num_classes) if threshold is None else threshold
        self.copies = copies
        self.restore = restore
        self.seed = seed
        self.augment = augment
        self.reset()

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Cotta:
        return cls(parts.backbone, jitter_views(parts.preprocessing, mirrored=parts.mirrored), **settings)

    def reset(self) -> None:
        self.student = copy.deepcopy(self.backbone).requires_grad_(True)
        self.teacher = copy.deepcopy(self.backbone)
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=self.learning_rate)
        self.generator = torch.Generator().manual_seed(self.seed)

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        wanted = self._pseudo_labels(images)  # (B, K)
        loss = F.cross_entropy(_on_batch_statistics(self.student, images), wanted.softmax(dim=1))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        follow(self.teacher, self.student, 1.0 - self.momentum)
        self._restore_some()
        return wanted

    @torch.no_grad()
    def _pseudo_labels(self, images: torch.Tensor) -> torch.Tensor:
        """The teacher's logits (B, K), over augmented views if the source model is unsure of the batch."""
        confidence = _on_batch_statistics(self.backbone, images).softmax(dim=1).amax(dim=1).mean()
        if confidence >= self.threshold:
            return _on_batch_statistics(self.teacher, images)
        total = torch.zeros((), device=images.device, dtype=images.dtype)
        for _ in range(self.copies):
            total = total + _on_batch_statistics(self.teacher, self.augment(images, self.generator))
        return total / self.copies

    @torch.no_grad()
    def _restore_some(self) -> None:
        for weight, source in zip(self.student.parameters(), self.backbone.parameters(), strict=True):
            # drawn on the CPU, so that every device restores the same weights
            chosen = torch.rand(weight.shape, generator=self.generator) < self.restore
            weight.copy_(torch.where(chosen.to(weight.device), source, weight))


def default_threshold(classes: int) -> float:
    """The authors' thresholds: 0.92 for 10 classes, 0.72 for 100, 0.1 for 1000; linear in log(classes) between them.

    Fewer than 10 classes take the first, more than 1000 the last. The authors found each as the 5 % quantile of the
    source model's confidence on source images, less 0.05.
    """
    return float(np.interp(math.log10(classes), (1.0, 2.0, 3.0), (0.92, 0.72, 0.1)))


@torch.no_grad()
def follow(teacher: Backbone, student: Backbone, rate: float) -> None:
    """Moves each weight of `teacher` by `rate` of the way to the student's."""
    for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
        slow.lerp_(fast, rate)


def _on_batch_statistics(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
    return backbone(images, backbone.mixing_batchnorm(1.0))  # type: ignore[no-any-return]
