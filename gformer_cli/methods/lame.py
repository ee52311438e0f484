"""`lame`: predictions made to agree with their neighbours' (Boudiaf et al. 2022, arXiv 2201.05718)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.methods.base import Method
from gformer_cli.methods.features import logits_and_features


class Lame(Method):
    """Laplacian adjusted maximum likelihood: the network stays, its predictions of a batch are corrected together.

    With the source model's probabilities p_i and an affinity w_ij that is 1 where j is one of the `neighbours` of i
    nearest in the angle between their features, else 0, the assignments z_i stay near p_i (in KL divergence) while
    they agree with their neighbours' (section 4). From z_i = p_i, the concave-convex procedure repeats

        z_i ∝ p_i · exp(Σ_j w_ij z_j)

    until no entry of z moves by more than `TOLERANCE`, at most `MAX_STEPS` times, the authors' limit. The affinity is
    not made symmetric, as in their code.

    The logits are log z, so that their softmax is the assignment. No state. A batch of one has no neighbours: it keeps
    the source model's prediction.

    Args:
        neighbours: the authors' k.
    """

    TOLERANCE: ClassVar = 1e-6
    MAX_STEPS: ClassVar = 100

    tunable: ClassVar = {"neighbours": (1, 3, 5)}

    def __init__(self, backbone: Backbone, *, neighbours: int = 5) -> None:
        super().__init__(backbone)
        self.neighbours = neighbours

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits, features = logits_and_features(self.backbone, images)  # (B, K), (B, D)
        log_p = logits.log_softmax(dim=1)
        weights = _affinity(features, self.neighbours)  # (B, B)
        log_z, z = log_p, log_p.exp()
        for _ in range(self.MAX_STEPS):
            log_z = (log_p + weights @ z).log_softmax(dim=1)
            previous, z = z, log_z.exp()
            if (z - previous).abs().max() <= self.TOLERANCE:
                break
        return log_z


def _affinity(features: torch.Tensor, neighbours: int) -> torch.Tensor:
    """(B, B) of zeros, with ones in row i at the nearest neighbours of features (B, D) i, itself not among them."""
    unit = F.normalize(features, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    nearest = similarity.topk(min(neighbours, len(unit) - 1), dim=1).indices  # (B, k)
    return torch.zeros_like(similarity).scatter_(1, nearest, 1.0)
