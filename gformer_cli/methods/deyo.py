"""`deyo`: entropy minimisation on images whose shape the prediction rests on (Lee et al. 2024, arXiv 2403.07366)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torchvision.transforms.v2 import functional as transforms

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies
from gformer_cli.methods.affine import early_affine, early_layers, trainable_affine
from gformer_cli.methods.base import Method


class Deyo(Method):
    """Batch statistics; one SGD step a batch on early γ and β, on images that are sure and lose that when cut up.

    - Images of entropy H below `max_entropy` · ln K are seen again with their `PATCHES` x `PATCHES` patches shuffled.
      The difference D is what the predicted class's probability loses by that (PLPD, eq. 6).
    - Those with D above `difference` count. The loss is their mean of (exp(E0 - H) + exp(D)) H, the factor taken as a
      constant, with E0 = `entropy_margin` · ln K (eqs. 8 to 10).

    The predictions are those before the step. A batch without images that count changes nothing. As in `sar` the last
    quarter of the layers stays as it is, where the authors leave layers out by their names.

    Args:
        learning_rate: of SGD, the authors' for ResNets and batches of 64.
        momentum: of SGD.
        max_entropy: of images that are looked at, in units of ln K.
        entropy_margin: E0 in units of ln K.
        difference: least D of those that count, in [0, 1).
        seed: of the order of the patches, which differs from image to image.
    """

    PATCHES: ClassVar = 4
    tunable: ClassVar = {"learning_rate": (2.5e-4, 1e-3, 5e-3), "difference": (0.1, 0.2, 0.3)}

    def __init__(
        self,
        backbone: Backbone,
        *,
        learning_rate: float = 2.5e-4,
        momentum: float = 0.9,
        max_entropy: float = 0.5,
        entropy_margin: float = 0.4,
        difference: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__(backbone)
        unit = math.log(self.backbone.num_classes)
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.max_entropy = max_entropy * unit
        self.entropy_margin = entropy_margin * unit
        self.difference = difference
        self.seed = seed
        self.reset()

    def reset(self) -> None:
        self.parameters = trainable_affine(self.backbone)
        trained = early_affine(self.parameters, early_layers(self.backbone))
        self.optimizer = torch.optim.SGD(trained, lr=self.learning_rate, momentum=self.momentum)
        self.generator = torch.Generator().manual_seed(self.seed)

    @torch.enable_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.backbone(images, self.parameters)  # (B, K)
        entropy = entropies(logits)  # (B,)
        sure = entropy.detach() < self.max_entropy
        if sure.any():
            lost = self._lost(images[sure], logits.detach()[sure])
            counts = lost > self.difference
            if counts.any():
                entropy = entropy[sure][counts]
                factor = (self.entropy_margin - entropy.detach()).exp() + lost[counts].exp()
                self.optimizer.zero_grad(set_to_none=True)
                (factor * entropy).mean().backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
        return logits.detach()  # type: ignore[no-any-return]

    @torch.no_grad()
    def _lost(self, images: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """D of images (B, 3, S, S) with logits (B, K): (B,)."""
        whole, predicted = logits.softmax(dim=1).max(dim=1)
        cut = self.backbone(shuffled_patches(images, self.PATCHES, self.generator), self.parameters).softmax(dim=1)
        lost: torch.Tensor = whole - cut.gather(1, predicted[:, None])[:, 0]
        return lost


def shuffled_patches(images: torch.Tensor, patches: int, generator: torch.Generator) -> torch.Tensor:
    """Images (B, 3, S, S) with their `patches` x `patches` squares in a random order, each image in its own.

    Images whose side is no multiple of `patches` are scaled down to one before, and up again after.
    """
    size = images.shape[-1]
    side = size // patches  # of a square
    whole = transforms.resize(images, [side * patches] * 2, antialias=True)
    squares = whole.unfold(2, side, side).unfold(3, side, side)  # (B, 3, P, P, side, side)
    squares = squares.flatten(2, 3)  # (B, 3, P², side, side)
    # drawn on the CPU, so that every device cuts alike
    order = torch.rand(len(images), patches**2, generator=generator).argsort(dim=1).to(images.device)
    squares = squares.gather(2, order[:, None, :, None, None].expand_as(squares))
    rows = squares.unflatten(2, (patches, patches)).permute(0, 1, 2, 4, 3, 5)  # (B, 3, P, side, P, side)
    mixed: torch.Tensor = transforms.resize(rows.flatten(4, 5).flatten(2, 3), [size, size], antialias=True)
    return mixed
