"""`rotta`: robust adaptation to correlated streams (Yuan et al. 2023, arXiv 2303.13899)."""

from __future__ import annotations

import copy
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies
from gformer_cli.methods.augmentations import Augmentation, jitter_views
from gformer_cli.methods.base import Method, Parts
from gformer_cli.methods.cotta import follow


class Rotta(Method):
    """A teacher predicts; a student learns γ and β from it on a small memory that is balanced over the classes.

    The three parts of section 3:

    - *Robust normalisation.* Both networks normalise by statistics of their own, which start at the source's and
      move by `alpha` towards those of each batch taken from the memory. Predicting moves nothing.
    - *Memory.* `BalancedMemory` keeps `capacity` images, few per class, recent and confidently predicted.
    - *Training.* After every `update_every` images the student takes one Adam step on its cross-entropy, on an
      augmented view of the memory, to the teacher's predictions of the memory as it is. An image of age a, in units
      of the capacity, weighs exp(-a) / (1 + exp(-a)). Then γ and β of the teacher move by `nu` to the student's.

    The prediction is the teacher's, before the updates that the batch brings about. For the view see `jitter_views`.

    Args:
        augment: draws the views, such as `jitter_views`.
        learning_rate: of Adam with betas 0.9 and 0.999.
        alpha: weight of the memory's statistics.
        nu: rate of the teacher.
        capacity: images in the memory.
        update_every: images of the stream between two updates.
        timeliness: weight of an image's age when the memory decides which one leaves, λ_t.
        uncertainty: weight of its entropy there, λ_u.
        seed: of the views.
    """

    tunable: ClassVar = {"learning_rate": (1e-4, 1e-3, 5e-3), "alpha": (0.01, 0.05, 0.2), "nu": (0.001, 0.01)}

    def __init__(
        self,
        backbone: Backbone,
        augment: Augmentation,
        *,
        learning_rate: float = 1e-3,
        alpha: float = 0.05,
        nu: float = 0.001,
        capacity: int = 64,
        update_every: int = 64,
        timeliness: float = 1.0,
        uncertainty: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.nu = nu
        self.capacity = capacity
        self.update_every = update_every
        self.timeliness = timeliness
        self.uncertainty = uncertainty
        self.seed = seed
        self.augment = augment
        self.reset()

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Rotta:
        return cls(parts.backbone, jitter_views(parts.preprocessing, mirrored=parts.mirrored), **settings)

    def reset(self) -> None:
        self.teacher = copy.deepcopy(self.backbone)
        self.student = copy.deepcopy(self.backbone)
        affine = [p.requires_grad_(True) for layer in self.student.layers for p in (layer.weight, layer.bias)]
        self.optimizer = torch.optim.Adam(affine, lr=self.learning_rate)
        self.memory = BalancedMemory(
            self.capacity, self.backbone.num_classes, timeliness=self.timeliness, uncertainty=self.uncertainty
        )
        self.since_update = 0
        self.generator = torch.Generator().manual_seed(self.seed)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.teacher(images)  # (B, K)
        labels, uncertainties = logits.argmax(dim=1).tolist(), entropies(logits).tolist()
        for image, label, entropy in zip(images, labels, uncertainties, strict=True):
            self.memory.add(image, label, entropy)
            self.since_update += 1
            if self.since_update == self.update_every:
                self.since_update = 0
                self._update()
        return logits

    @torch.enable_grad()
    def _update(self) -> None:
        images, ages = self.memory.content()  # (N, 3, S, S), (N,)
        with torch.no_grad():
            wanted = moving_statistics(self.teacher, images, self.alpha).softmax(dim=1)  # (N, K)
        logits = moving_statistics(self.student, self.augment(images, self.generator), self.alpha)  # (N, K)
        weights = torch.sigmoid(-ages / self.capacity)
        loss = (weights * F.cross_entropy(logits, wanted, reduction="none")).mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        follow(self.teacher, self.student, self.nu)


def moving_statistics(model: Backbone, images: torch.Tensor, alpha: float) -> torch.Tensor:
    """Logits (N, K) under running statistics that first move by `alpha` to those of `images` and stay there."""
    logits, session = model.observe(images, model.mixing_batchnorm(alpha))
    for index, layer in enumerate(model.layers):
        if layer.of_batch:
            layer.running_mean.lerp_(session.means[index], alpha)
            layer.running_var.lerp_(session.variances[index], alpha)
    return logits


@dataclass
class _Item:
    image: torch.Tensor
    label: int
    entropy: float
    age: int = 0


class BalancedMemory:
    """At most `capacity` images, balanced over their predicted classes (section 3.3, algorithm 1).

    An image that arrives at a full memory, or at a class that has its share capacity / K, takes the place of the
    worst of its rivals, or leaves if none is worse than itself. Its rivals are its own class if that one has its share,
    else the classes that hold most. An image is the worse, the older and the more uncertain it is:

        timeliness / (1 + exp(-age / capacity)) + uncertainty · entropy / log(K)
    """

    def __init__(self, capacity: int, classes: int, *, timeliness: float, uncertainty: float) -> None:
        self.capacity = capacity
        self.classes = classes
        self.timeliness = timeliness
        self.uncertainty = uncertainty
        self.items: list[_Item] = []

    def add(self, image: torch.Tensor, label: int, entropy: float) -> None:
        """Offers an image (3, S, S); every image in the memory becomes older by one."""
        new = _Item(image, label, entropy)
        rivals = self._rivals(label)
        worst = max(rivals, key=self._badness, default=None)
        if worst is None or self._badness(worst) > self._badness(new):
            self.items = [item for item in self.items if item is not worst]
            new.image = image.clone()  # a slice would keep its whole batch alive
            self.items.append(new)
        for item in self.items:
            item.age += 1

    def content(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The images (N, 3, S, S) and their ages (N,), counted in images of the stream."""
        images = torch.stack([item.image for item in self.items])
        return images, images.new_tensor([item.age for item in self.items])

    def _rivals(self, label: int) -> list[_Item]:
        """Those of which one must leave before an image of class `label` may enter; none if there is room."""
        sizes = Counter(item.label for item in self.items)
        if sizes[label] >= self.capacity / self.classes:
            return [item for item in self.items if item.label == label]
        if len(self.items) < self.capacity:
            return []
        largest = max(sizes.values())
        return [item for item in self.items if sizes[item.label] == largest]

    def _badness(self, item: _Item) -> float:
        age = self.timeliness / (1.0 + math.exp(-item.age / self.capacity))
        return age + self.uncertainty * item.entropy / math.log(self.classes)
