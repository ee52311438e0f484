"""The source model's features beside its logits, and what they show of classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.session import Session


def logits_and_features(backbone: Backbone, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, K) of the plain forward pass and the classifier's input (B, D).

    `Backbone.observe` gives them too, but also computes each layer's batch statistics, which nobody reads here.
    """
    session = Session(backbone.source_parameters())
    logits = session.run(backbone.network, images)
    assert session.features is not None
    return logits, session.features


@torch.no_grad()
def labelled_features(backbone: Backbone, batches: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Features (N, D) of all images in `batches`, (B, 3, S, S) each, and the classes (N,) that the model predicts."""
    features, labels = [backbone.classifier.matrix.new_empty(0, backbone.classifier.matrix.shape[1])], []
    for images in batches:
        logits, own = logits_and_features(backbone, images)
        features.append(own)
        labels.append(logits.argmax(dim=1))
    return torch.cat(features), torch.cat([features[0].new_empty(0, dtype=torch.long), *labels])


@dataclass(frozen=True)
class ClassMoments:
    """What the features of some images show of each class."""

    counts: torch.Tensor
    """Images, (K,)."""
    means: torch.Tensor
    """(K, D), 0 for a class without images."""
    variances: torch.Tensor
    """Unbiased, (K, D), 0 for a class with fewer than two."""


def class_moments(features: torch.Tensor, labels: torch.Tensor, classes: int) -> ClassMoments:
    """Of features (N, D) with `labels` (N,)."""
    members = F.one_hot(labels, classes).to(features.dtype)  # (N, K)
    counts = members.sum(dim=0)
    means = members.T @ features / counts.clamp_min(1.0)[:, None]
    squares = members.T @ (features - means[labels]).square()
    return ClassMoments(counts, means, squares / (counts - 1.0).clamp_min(1.0)[:, None])
