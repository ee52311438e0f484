"""`note`: an image's statistics where they speak up, and a balanced memory (Gong et al. 2022, arXiv 2208.05117)."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import ClassVar

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropy
from gformer_cli.methods.base import Method
from gformer_cli.methods.normalisation import Normalisation, image_moments, moments, renormalised
from gformer_cli.networks.norms import AdaptiveNorm


class Note(Method):
    """Predicts each image by itself; after every `update_every` images one Adam step on γ and β, on a memory.

    - *Instance-aware normalisation* (section 3.1): see `InstanceAware`.
    - *Memory* (section 3.2): `ReservoirMemory` keeps `capacity` images, balanced over their predicted classes.
    - *Training*: the loss is the mean entropy of the memory's predictions, under the memory's own statistics, towards
      which the layers' statistics move by `renewed`.

    A prediction does not depend on the other images of its batch, and is made before the updates that they bring about.

    What differs from the authors' code: their source models are trained with instance-aware normalisation, here it
    comes to a network that was trained with BatchNorm; they average the entropy over classes too, which Adam undoes;
    all images of a batch are predicted before any of its updates, there they come one by one.

    Args:
        learning_rate: of Adam with betas 0.9 and 0.999.
        k: how many standard errors an image's statistics must lie off, to count.
        renewed: share of the memory's statistics in the moving ones.
        capacity: images in the memory.
        update_every: images of the stream between two updates.
        seed: of what the memory drops.
    """

    needs_batchnorm: ClassVar[bool] = True
    tunable: ClassVar = {"learning_rate": (1e-5, 1e-4, 1e-3), "k": (2.0, 4.0, 8.0)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        learning_rate: float = 1e-4,
        k: float = 4.0,
        renewed: float = 0.01,
        capacity: int = 64,
        update_every: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.k = k
        self.renewed = renewed
        self.capacity = capacity
        self.update_every = update_every
        self.seed = seed
        self.reset()

    def reset(self) -> None:
        self.adapted, self.norms = renormalised(self.backbone, lambda layer: InstanceAware(layer, self.k, self.renewed))
        trained = [p.requires_grad_(True) for norm in self.norms for p in (norm.layer.weight, norm.layer.bias)]
        self.optimizer = torch.optim.Adam(trained, lr=self.learning_rate)
        self.memory = ReservoirMemory(self.capacity, self.seed)
        self.since_update = 0

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.adapted(images)  # (B, K)
        for image, label in zip(images, logits.argmax(dim=1).tolist(), strict=True):
            self.memory.add(image, label)
            self.since_update += 1
            if self.since_update == self.update_every:
                self.since_update = 0
                self._update()
        return logits

    @torch.enable_grad()
    def _update(self) -> None:
        for norm in self.norms:
            norm.learning = True
        loss = entropy(self.adapted(self.memory.content()))
        for norm in self.norms:
            norm.learning = False
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()


class InstanceAware(Normalisation):
    """Normalises by moving statistics μ, σ², corrected by an image's own where these lie significantly off.

    With N positions an image's mean has the standard error √(σ² / N) and its variance σ² √(2 / (N - 1)). What of the
    difference exceeds `k` of them is added to μ and to σ², which stays above 0. With one position nothing is known of
    the image. While `learning`, μ and σ² are those of the batch, and the moving ones follow.
    """

    def __init__(self, layer: AdaptiveNorm, k: float, renewed: float) -> None:
        super().__init__(layer)
        self.k = k
        self.renewed = renewed
        self.learning = False

    def normalised(self, input: torch.Tensor) -> torch.Tensor:
        mean, variance = self.layer.running_mean, self.layer.running_var  # (C,)
        if self.learning:
            batch = moments(input, correction=1)
            mean, variance = batch
            self.layer.running_mean.lerp_(mean.detach(), self.renewed)
            self.layer.running_var.lerp_(variance.detach(), self.renewed)
        count = input.shape[2]
        if count == 1:
            return self.standardised(input, mean, variance)
        own_mean, own_variance = image_moments(input, correction=1)  # (B, C)
        error = ((variance + self.eps) / count).sqrt()
        spread = (variance + self.eps) * math.sqrt(2 / (count - 1))
        mean = mean + _shrunk(own_mean - mean, self.k * error)
        variance = (variance + _shrunk(own_variance - variance, self.k * spread)).clamp_min(0.0)
        return self.standardised(input, mean, variance)


def _shrunk(values: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    """`values` moved towards 0 by `by`, no further than 0."""
    return (values - by).clamp_min(0.0) - (-values - by).clamp_min(0.0)


class ReservoirMemory:
    """At most `capacity` images, balanced over predicted classes, over time a fair sample of each (algorithm 1).

    An image that arrives at a full memory takes the place of one of the largest class. If its own class is the largest
    it stays out at random, so that every image of that class had the same chance to be there.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        self.capacity = capacity
        self.random = random.Random(seed)
        self.items: list[tuple[torch.Tensor, int]] = []
        self.seen: Counter[int] = Counter()

    def add(self, image: torch.Tensor, label: int) -> None:
        """Offers an image (3, S, S) with its predicted class."""
        self.seen[label] += 1
        if len(self.items) >= self.capacity:
            sizes = Counter(own for _, own in self.items)
            largest = [own for own, size in sizes.items() if size == max(sizes.values())]
            if label in largest:
                if self.random.random() > sizes[label] / self.seen[label]:
                    return
                largest = [label]
            leaving = self.random.choice(largest)
            del self.items[self.random.choice([row for row, (_, own) in enumerate(self.items) if own == leaving])]
        self.items.append((image.clone(), label))  # a slice would keep its whole batch alive

    def content(self) -> torch.Tensor:
        """The images, (N, 3, S, S)."""
        return torch.stack([image for image, _ in self.items])
