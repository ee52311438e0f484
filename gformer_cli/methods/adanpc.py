"""`adanpc`: the nearest neighbours in a memory of source and target features (Zhang et al. 2023, arXiv 2304.12566)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.base import Method
from gformer_cli.methods.features import labelled_features, logits_and_features

_FLOOR = 1e-5
"""Added to each class's score."""


class AdaNPC(Method):
    """No classifier: an image's `neighbours` nearest features in memory vote on its class.

    The votes are the softmax of their cosines over `temperature` (section 3.2); a class's score is the sum of its
    votes, and the logits are the scores' logarithms. Images whose highest score reaches `confidence` join the memory
    with the class that they got, after their batch is predicted. The network stays, under source statistics.

    The memory begins with what `prepare` is shown of the source, and grows with the stream.

    What differs from the authors' code: source images come without labels, so they have the class that the source model
    predicts; the network is trained with its classifier, not for its neighbours; confidence is the score, there the
    softmax of the scores, which hardly varies. Without `prepare` the memory begins with the classifier's rows.

    Args:
        neighbours: the authors' k, at most as many as the memory holds. They choose among 1 to 200 by validation.
        temperature: of the votes. They choose among 0.01 to 0.5.
        confidence: least score of an image that joins.
    """

    reads_source: ClassVar[bool] = True
    without_source: ClassVar[str] = "begins with the classifier's rows for a memory"
    tunable: ClassVar = {"neighbours": (1, 10, 50, 100), "temperature": (0.01, 0.1, 0.5), "confidence": (0.1, 0.75)}

    def __init__(
        self, backbone: Backbone, *, neighbours: int = 100, temperature: float = 0.1, confidence: float = 0.1
    ) -> None:
        super().__init__(backbone)
        self.neighbours = neighbours
        self.temperature = temperature
        self.confidence = confidence
        rows = self.backbone.classifier.matrix.detach()
        self.start = F.normalize(rows, dim=1), torch.arange(len(rows), device=rows.device)
        self.reset()

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        features, labels = labelled_features(self.backbone, batches)
        if len(features):
            self.start = F.normalize(features, dim=1), labels
            self.reset()

    def reset(self) -> None:
        self.memory, self.labels = self.start  # of unit length (N, D), and (N,)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        _, features = logits_and_features(self.backbone, images)
        unit = F.normalize(features, dim=1)  # (B, D)
        cosine, nearest = (unit @ self.memory.T).topk(min(self.neighbours, len(self.memory)), dim=1)  # (B, n)
        votes = (cosine / self.temperature).softmax(dim=1)
        scores = votes.new_full((len(images), self.backbone.num_classes), _FLOOR)
        scores = scores.scatter_add(1, self.labels[nearest], votes)
        joins = scores.amax(dim=1) >= self.confidence
        self.memory = torch.cat([self.memory, unit[joins]])
        self.labels = torch.cat([self.labels, scores.argmax(dim=1)[joins]])
        return scores.log()
