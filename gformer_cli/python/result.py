"""What one batch got."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """The answers to one batch of B images. K classes. Every tensor is on the CPU, and nobody else's."""

    classes: tuple[str, ...]
    """In the order of the probabilities."""
    probabilities: torch.Tensor
    """(B, K) under the parameters that the guard let predict."""
    source_probabilities: torch.Tensor
    """(B, K) of the model as it is, not adapted."""
    indices: torch.Tensor
    """(B,): the class of each image, by its place in `classes`. No temperature changes it."""
    source_indices: torch.Tensor
    """(B,): what the model as it is gives each image."""
    decision: str
    """The guard's: `generated`, `blended` or `source`. Without a guard `generated`."""
    share: float
    """How much of what was generated predicts: 1 for `generated`, 0 for `source`."""
    reasons: tuple[str, ...]
    """Why the guard decided so, where it is not `generated`: the names of what lies outside of its limits."""
    signals: dict[str, float]
    """Every figure that the guard looked at, and its two scores, `strangeness` and `expected_loss`; empty without."""
    parameters: dict[str, torch.Tensor]
    """Those that predicted, by their names in the network: per normalisation layer `LAYER.weight`, `LAYER.bias` and
    `LAYER.mix` (the share of the batch's own statistics), and the classifier's `weight` and `bias`. Empty from an ONNX
    file, which does not show them."""
    positions: tuple[int, ...]
    """The place of each image among those that were given: 0 to B - 1; in a stream, counted from its beginning."""
    number: int = 0
    """Of the batch in its stream, from 0."""

    def __len__(self) -> int:
        return len(self.probabilities)

    def __repr__(self) -> str:
        changed = sum(now != before for now, before in zip(self.labels, self.source_labels, strict=True))
        return f"<Result of {len(self)} images: {self.decision}, {changed} labels differ from the source model's>"

    @cached_property
    def labels(self) -> list[str]:
        """The class of each image."""
        return self._names(self.indices)

    @cached_property
    def confidence(self) -> torch.Tensor:
        """(B,): the probability of each label."""
        return self.probabilities.max(dim=1).values

    @cached_property
    def source_labels(self) -> list[str]:
        """The class that the model as it is gives each image."""
        return self._names(self.source_indices)

    def _names(self, indices: torch.Tensor) -> list[str]:
        return [self.classes[index] for index in indices.tolist()]
