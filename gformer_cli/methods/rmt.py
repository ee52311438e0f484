"""`rmt`: a mean teacher under a symmetric loss, and contrast with the source's prototypes (Döbler et al. 2023).

The paper is "Robust Mean Teacher for Continual and Gradual Test-Time Adaptation", arXiv 2211.13081.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.session import Session
from gformer_cli.methods.augmentations import Augmentation, jitter_views
from gformer_cli.methods.base import Method, Parts
from gformer_cli.methods.cotta import follow
from gformer_cli.methods.features import class_moments, labelled_features
from gformer_cli.methods.self_training import consistency, symmetric_cross_entropy

PROJECTED = 128
"""Width of the projections that are contrasted."""
TEMPERATURE = 0.1
"""Of the contrast."""


class Rmt(Method):
    """Batch statistics; a student takes one Adam step a batch on all weights, a teacher follows it slowly.

    The loss is the sum of two means over the batch (sections 3.2 and 3.3):

    - `consistency` with the teacher, of the images and of an augmented view of them.
    - `contrast` of the projected features of an image, of its view, and of the class prototype of the source that is
      nearest to the image by the cosine.

    Then teacher ← `momentum` · teacher + (1 - `momentum`) · student. The prediction is the sum of both logits,
    before the step.

    `prepare` makes the prototypes, mean features of the source model's predicted classes, and warms up: on each batch
    of source images a step on the symmetric cross-entropy to the teacher, the learning rate growing to its value.

    What differs from the authors' code: no source images are replayed with their labels, since methods see none here;
    the authors call that the source-free variant. Prototypes come from predicted classes, and a class that was not
    predicted has its row of the classifier. The warm-up lasts as long as there are source images, there 50 000.

    Args:
        augment: draws the views, such as `jitter_views`.
        learning_rate: of Adam with betas 0.9 and 0.999, the authors' for CIFAR.
        momentum: of the teacher.
        contrast_weight: of the second loss.
        seed: of the views and of the projection.
    """

    reads_source: ClassVar[bool] = True
    without_source: ClassVar[str] = "has the classifier's rows for prototypes and no warm-up"
    tunable: ClassVar = {"learning_rate": (1e-5, 1e-4, 1e-3), "contrast_weight": (0.0, 1.0)}

    def __init__(
        self,
        backbone: Backbone,
        augment: Augmentation,
        *,
        learning_rate: float = 1e-3,
        momentum: float = 0.999,
        contrast_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.contrast_weight = contrast_weight
        self.seed = seed
        self.augment = augment
        self.prototypes = self.backbone.classifier.matrix.detach()  # (K, D)
        self.warm: tuple[Backbone, Backbone, dict[str, Any]] | None = None
        self.reset()

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Rmt:
        return cls(parts.backbone, jitter_views(parts.preprocessing, mirrored=parts.mirrored), **settings)

    def reset(self) -> None:
        student, teacher, state = self.warm or (self.backbone, self.backbone, None)
        self.student = copy.deepcopy(student).requires_grad_(True)
        self.teacher = copy.deepcopy(teacher).requires_grad_(False)
        self.projection = _projection(self.prototypes, self.seed)
        trained = [*self.student.parameters(), *self.projection.parameters()]
        self.optimizer = torch.optim.Adam(trained, lr=self.learning_rate)
        if state is not None:
            self.optimizer.load_state_dict(copy.deepcopy(state))
        self.generator = torch.Generator().manual_seed(self.seed)

    @torch.enable_grad()
    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        shown = list(batches)
        if not shown:
            return
        self.warm = None
        self.reset()
        features, labels = labelled_features(self.backbone, shown)
        found = class_moments(features, labels, self.backbone.num_classes)
        self.prototypes = torch.where(found.counts[:, None] > 0, found.means, self.prototypes)
        for number, images in enumerate(shown, start=1):
            self.optimizer.param_groups[0]["lr"] = self.learning_rate * number / len(shown)
            logits, _ = _run(self.student, images)
            self._step(symmetric_cross_entropy(logits, self._taught(images)).mean())
        self.warm = self.student, self.teacher, self.optimizer.state_dict()
        self.reset()

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits, features = _run(self.student, images)  # (B, K), (B, D)
        view, seen = _run(self.student, self.augment(images, self.generator))
        taught = self._taught(images)
        nearest = (F.normalize(features.detach(), dim=1) @ F.normalize(self.prototypes, dim=1).T).argmax(dim=1)
        together = torch.stack([self.prototypes[nearest], features, seen])  # (3, B, D)
        contrasted = contrast(F.normalize(self.projection(together), dim=2))
        self._step(consistency(logits, view, taught).mean() + self.contrast_weight * contrasted)
        return logits.detach() + taught

    @torch.no_grad()
    def _taught(self, images: torch.Tensor) -> torch.Tensor:
        return _run(self.teacher, images)[0]

    def _step(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        follow(self.teacher, self.student, 1.0 - self.momentum)


def contrast(views: torch.Tensor) -> torch.Tensor:
    """Mean over all of V views of B images, (V, B, H) of unit length, of how far each is from picking its own: scalar.

    For a view it is the mean, over the other views of its image, of the negative logarithm of their softmax among
    all others, of inner products over `TEMPERATURE`. (SimCLR's loss for several views, arXiv 2002.05709.)
    """
    count, images, _ = views.shape
    flat = views.flatten(0, 1)  # (V B, H)
    own = torch.eye(len(flat), dtype=torch.bool, device=flat.device)
    logits = (flat @ flat.T / TEMPERATURE).masked_fill(own, -torch.inf)
    same = torch.eye(images, dtype=torch.bool, device=flat.device).repeat(count, count) & ~own
    chances = logits.log_softmax(dim=1).masked_fill(~same, 0.0)
    return -chances.sum(dim=1).mean() / (count - 1)


def _run(model: Backbone, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, K) and features (B, D) under batch statistics."""
    session = Session(model.mixing_batchnorm(1.0))
    logits = session.run(model.network, images)
    assert session.features is not None
    return logits, session.features


def _projection(like: torch.Tensor, seed: int) -> nn.Module:
    """From features as wide as `like` (K, D) to `PROJECTED` numbers, drawn on the CPU as torch draws linear layers."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = nn.Linear(like.shape[1], PROJECTED), nn.Linear(PROJECTED, PROJECTED)
    return nn.Sequential(first, nn.ReLU(), second).to(like)
