"""`memo`: one step per image towards predictions that augmentation does not change (Zhang et al. 2022).

The paper is "MEMO: Test Time Robustness via Adaptation and Augmentation", arXiv 2110.09506.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import marginal_entropy
from gformer_cli.methods.augmentations import Augmentation, augmix_views
from gformer_cli.methods.base import Method, Parts

Weights = dict[str, torch.Tensor]
_WEIGHTS_HELD = 2**25
"""Weights of all networks that a vectorised pass holds at once: 128 MB in float32, and again as much for gradients."""
_LARGEST_GROUP = 16
"""Larger ones save nothing more and hold the activations of all their images."""


class Memo(Method):
    """Per image: one gradient step on the marginal entropy over augmented copies, then a prediction, then forget.

    The marginal is the mean of the copies' probabilities (section 3, equation 3). All weights take the step,
    plain gradient descent from the source's, as in the paper. BatchNorm mixes the source statistics with those of the
    pass, the copies' or the single image's, by N : 1 with N the `prior_count`, whatever the number of copies.
    No state: an image's prediction depends on that image alone, since copy j of every image shares a draw
    (see `augmix_views`).

    All weights differ per image after the step, so a vectorised pass holds a network per image. Images are therefore
    taken in groups whose networks have `_WEIGHTS_HELD` weights together; a network larger than that goes alone.

    Args:
        augment: draws the views, such as `augmix_views`.
        learning_rate: the paper's for its BatchNorm network (ResNet-50, ImageNet); it uses 5e-3 for small images.
        copies: augmented copies per image, each a forward and a backward pass. The paper takes 32 for small images and
            64 for large ones, well over 100 times the cost of the source model's forward pass; 4 cost 20 to 30 times.
        prior_count: the prior strength N of the source statistics.
        seed: of the copies.
    """

    ask_once = True
    tunable: ClassVar = {"learning_rate": (2.5e-4, 1e-3, 5e-3), "prior_count": (4.0, 16.0, 64.0)}

    def __init__(
        self,
        backbone: Backbone,
        augment: Augmentation,
        *,
        learning_rate: float = 2.5e-4,
        copies: int = 4,
        prior_count: float = 16.0,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        self.learning_rate = learning_rate
        self.copies = copies
        self.prior_count = prior_count
        self.seed = seed
        self.augment = augment
        self.mixing = _Mixing(backbone, prior_count)

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Memo:
        return cls(parts.backbone, augmix_views(parts.preprocessing, mirrored=parts.mirrored), **settings)

    def predict(self, images: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        views = torch.stack([self.augment(images, generator) for _ in range(self.copies)], dim=1)  # (B, N, 3, S, S)
        # channels-last is no faster with a network per image, and one of its kernels has no vectorised form
        source = {name: p.detach().contiguous() for name, p in self.backbone.network.named_parameters()}
        weights = sum(weight.numel() for weight in source.values())
        group = min(_LARGEST_GROUP, max(1, _WEIGHTS_HELD // weights))

        def adapted_logits(copies: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
            return self._logits(self._step(source, copies), image[None])[0]

        logits: torch.Tensor = torch.func.vmap(adapted_logits, chunk_size=group)(views, images)
        return logits.detach()

    def _step(self, source: Weights, copies: torch.Tensor) -> Weights:
        """The weights after a step on the marginal entropy over copies (N, 3, S, S) of one image."""
        gradients = torch.func.grad(self._marginal_entropy)(source, copies)
        return {name: weight - self.learning_rate * gradients[name] for name, weight in source.items()}

    def _marginal_entropy(self, weights: Weights, copies: torch.Tensor) -> torch.Tensor:
        return marginal_entropy(self._logits(weights, copies))

    def _logits(self, weights: Weights, images: torch.Tensor) -> torch.Tensor:
        named = {f"backbone.network.{name}": weight for name, weight in weights.items()}
        logits: torch.Tensor = torch.func.functional_call(self.mixing, named, (images,))
        return logits


class _Mixing(nn.Module):
    """A network whose BatchNorm layers weigh a pass against the source statistics by 1 : N, whatever the batch."""

    def __init__(self, backbone: Backbone, prior_count: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.share = 1.0 / (1.0 + prior_count)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.backbone(images, self.backbone.mixing_batchnorm(self.share))  # type: ignore[no-any-return]
