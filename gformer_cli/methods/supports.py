"""A memory of confident features by predicted class, begun with the classifier's rows, as T3A keeps it."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies


class Supports:
    """Features (N, D), their predicted classes (N,) and the entropies (N,) of these predictions.

    Class k begins with one support, its row of the source classifier. The entropy of a row is that of the source
    classifier's prediction for it.

    Args:
        backbone: the source model.
        per_class: at most so many supports of each class stay, those of lowest entropy.
    """

    @torch.no_grad()
    def __init__(self, backbone: Backbone, per_class: int) -> None:
        source = backbone.source_parameters()
        self.per_class = per_class
        self.classes = backbone.num_classes
        self.features = source.weight.clone()
        self.labels = torch.arange(self.classes, device=source.weight.device)
        self.entropies = entropies(F.linear(source.weight, source.weight, source.bias))

    @torch.no_grad()
    def add(self, features: torch.Tensor, logits: torch.Tensor) -> None:
        """Takes images with features (B, D) and logits (B, K) in, and lets the least certain of each class go."""
        self.features = torch.cat([self.features, features])
        self.labels = torch.cat([self.labels, logits.argmax(dim=1)])
        self.entropies = torch.cat([self.entropies, entropies(logits)])
        self._filter()

    def members(self) -> torch.Tensor:
        """(N, K) of zeros, with a one at the class of each support."""
        return F.one_hot(self.labels, self.classes).to(self.features.dtype)

    def _filter(self) -> None:
        order = self.entropies.argsort(stable=True)
        order = order[self.labels[order].argsort(stable=True)]  # by class, within a class by entropy
        labels = self.labels[order]
        sizes = F.one_hot(labels, self.classes).sum(dim=0)  # (K,)
        first = sizes.cumsum(dim=0) - sizes  # where each class begins
        rank = torch.arange(len(order), device=order.device) - first[labels]
        kept = order[rank < self.per_class]
        self.features, self.labels, self.entropies = self.features[kept], self.labels[kept], self.entropies[kept]
