"""`memo`: one step per image towards predictions that augmentation does not change (Zhang et al. 2022).

The paper is "MEMO: Test Time Robustness via Adaptation and Augmentation", arXiv 2110.09506.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.core.losses import entropy
from gformer_cli.core.probe import prior_mix
from gformer_cli.methods.augmentations import augmix_views
from gformer_cli.methods.base import Method

Weights = dict[str, torch.Tensor]


class Memo(Method):
    """Per image: one gradient step on the marginal entropy over augmented copies, then a prediction, then forget.

    The marginal is the mean of the copies' probabilities (section 3, equation 3). All weights take the step,
    plain gradient descent from the source's, as in the paper. BatchNorm mixes the source statistics with those of the
    pass, the copies' or the single image's, by N : 1 with N the `prior_count`, whatever the number of copies.
    No state: an image's prediction depends on that image alone, since copy j of every image shares a draw
    (see `augmix_views`).

    The images are taken in turn. All weights differ per image after the step, and a vectorised pass would hold
    a network per image beside the activations of all copies of all images.

    Args:
        learning_rate: the paper's for its BatchNorm network (ResNet-50, ImageNet); it uses 5e-3 for small images.
        copies: augmented copies per image, each a forward and a backward pass. The paper takes 32 for small images and
            64 for large ones, well over 100 times the cost of the source model's forward pass; 8 cost 30 to 60 times.
        prior_count: the prior strength N of the source statistics.
        seed: of the copies.
    """

    tunable: ClassVar = {"learning_rate": (2.5e-4, 1e-3, 5e-3), "prior_count": (4.0, 16.0, 64.0)}

    def __init__(
        self,
        bundle: Bundle,
        *,
        learning_rate: float = 2.5e-4,
        copies: int = 4,
        prior_count: float = 16.0,
        seed: int = 0,
    ) -> None:
        super().__init__(bundle)
        self.learning_rate = learning_rate
        self.copies = copies
        self.prior_count = prior_count
        self.seed = seed
        self.augment = augmix_views(bundle)

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        views = torch.stack([self.augment(images, generator) for _ in range(self.copies)], dim=1)  # (B, N, 3, S, S)
        # leaves that share the model's memory: no step ever writes to them
        source = {name: p.detach().requires_grad_(True) for name, p in self.backbone.network.named_parameters()}
        adapted = (self._step(source, copies) for copies in views)
        return torch.cat([self._logits(w, image[None]).detach() for w, image in zip(adapted, images, strict=True)])

    def _step(self, source: Weights, copies: torch.Tensor) -> Weights:
        """The weights after a step on the marginal entropy over copies (N, 3, S, S) of one image."""
        log_p = self._logits(source, copies).log_softmax(dim=1)  # (N, K)
        log_marginal = log_p.logsumexp(dim=0) - math.log(len(copies))  # (K,)
        loss = entropy(log_marginal[None])  # logarithms of probabilities are logits of the same softmax
        # some networks have parts that only training uses
        gradients = torch.autograd.grad(loss, list(source.values()), allow_unused=True, materialize_grads=True)
        return {
            name: weight.detach() - self.learning_rate * gradient
            for (name, weight), gradient in zip(source.items(), gradients, strict=True)
        }

    def _logits(self, weights: Weights, images: torch.Tensor) -> torch.Tensor:
        shares = prior_mix(self.backbone, 1, self.prior_count)  # (L,)
        mixes = {f"{name}.mix": share for name, share in zip(self.backbone.layer_names, shares, strict=True)}
        logits: torch.Tensor = torch.func.functional_call(self.backbone.network, {**weights, **mixes}, (images,))
        return logits
