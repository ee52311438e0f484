"""`foa`: prompts found by evolution, and features shifted back to the source (Niu et al. 2024, arXiv 2404.01650)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropies
from gformer_cli.methods.base import Method
from gformer_cli.methods.evolution import Evolution

FULL_BATCH = 64
"""Images in the batch that `fitness_weight` is given for."""
FOLLOWED = 0.1
"""Share of a batch in the moving mean of the features (eq. 9)."""


class Foa(Method):
    """No gradients: a population of prompts is tried on each batch, and the best one predicts.

    `prompts` tokens are put after the class token of a vision transformer. Their values come from a covariance matrix
    adaptation (`Evolution`), whose fitness (eq. 5) is the sum of the predictions' entropies plus

        `fitness_weight` · B / 64 · (‖μ - μ_s‖² + ‖σ - σ_s‖²)

    with the mean and standard deviation, over the B images, of the class token after every block, normalised as the
    next block does. The best prompts of the batch before are tried as well. The logits are the best's, of features to
    which the source's mean less a moving mean of the stream's was added (eqs. 7 to 9).

    `prepare` measures μ_s and σ_s, without prompts; before it the predictions are the source model's. A batch costs
    4 + ⌊3 ln n⌋ + 1 passes, for n numbers in the prompts: 28 in a ViT-B.

    What differs from the authors' code: the evolution is written out here, they use the package `cma`, and tell it the
    former best as well; prompts come after `norm_pre`, where a network has that.

    Args:
        prompts: tokens.
        fitness_weight: the authors', but 0.2 for ImageNet-R.
        seed: of the prompts.
    """

    reads_source: ClassVar[bool] = True
    without_source: ClassVar[str] = "is the source model"
    tunable: ClassVar = {"prompts": (1, 3), "fitness_weight": (0.1, 0.2, 0.4)}

    def __init__(self, backbone: Backbone, *, prompts: int = 3, fitness_weight: float = 0.4, seed: int = 0) -> None:
        super().__init__(backbone)
        self.prompts = prompts
        self.fitness_weight = fitness_weight
        self.seed = seed
        self.prompted = Prompted(backbone)
        self.source: tuple[torch.Tensor, torch.Tensor] | None = None  # mean and standard deviation, (L D,) both
        self.reset()

    @classmethod
    def obstacle(cls, backbone: Backbone) -> str | None:
        if _blocks(backbone.network) is None:
            return "It needs a vision transformer of timm or torchvision that classifies by its class token"
        return None

    @torch.no_grad()
    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        shown = [self.prompted(images, None)[1] for images in batches]
        if shown:
            deviation, mean = torch.std_mean(torch.cat(shown), dim=0)
            self.source = mean, deviation

    def reset(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        width = self.backbone.classifier.matrix.shape[1]
        limit = math.sqrt(6.0 / (3 * self.prompted.patch**2 + width))
        self.best = limit * (2.0 * torch.rand(self.prompts * width, generator=generator, dtype=torch.float64) - 1.0)
        self.evolution = Evolution(self.prompts * width, population=None, step=1.0, generator=generator)
        self.moving: torch.Tensor | None = None  # mean of the stream's features, (D,)

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        if self.source is None:
            return self.backbone(images)  # type: ignore[no-any-return]
        head = self.backbone.classifier
        width = head.matrix.shape[1]
        shift = 0.0 if self.moving is None else self.source[0][-width:] - self.moving
        asked = self.evolution.ask()
        values: list[float] = []
        means: list[torch.Tensor] = []
        for point in [*asked, self.best]:
            logits, features = self.prompted(images, point)
            values.append(self._fitness(logits, features, self.source))
            means.append(features[:, -width:].mean(dim=0))
            if values[-1] == min(values):
                best, answer = point, F.linear(features[:, -width:] + shift, head.matrix, head.bias)
        self.best = best
        self.evolution.tell(asked, torch.tensor(values[:-1], dtype=torch.float64))
        mean = torch.stack(means).mean(dim=0)
        self.moving = mean if self.moving is None else torch.lerp(self.moving, mean, FOLLOWED)
        return answer

    def _fitness(
        self, logits: torch.Tensor, features: torch.Tensor, source: tuple[torch.Tensor, torch.Tensor]
    ) -> float:
        count = len(features)
        deviation, mean = torch.std_mean(features, dim=0, correction=min(1, count - 1))
        apart = (mean - source[0]).square().sum() + (deviation - source[1]).square().sum()
        return float(self.fitness_weight * count / FULL_BATCH * apart + entropies(logits).sum())


class Prompted:
    """A copy of a vision transformer that takes prompts, and shows the class token after each block."""

    def __init__(self, backbone: Backbone) -> None:
        self.network = copy.deepcopy(backbone.network)
        found = _blocks(self.network)
        assert found is not None
        blocks, norms, self.patch = found
        self.prompts: torch.Tensor | None = None
        self.seen: list[torch.Tensor] = []
        blocks[0].register_forward_pre_hook(self._insert)
        for block, norm in zip(blocks, norms, strict=True):
            block.register_forward_hook(lambda _block, _inputs, output, norm=norm: self._look(norm, output))

    def __call__(self, images: torch.Tensor, point: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, K) and normalised class tokens of all L blocks, (B, L D), under prompts (P D,)."""
        self.prompts, self.seen = point, []
        logits: torch.Tensor = self.network(images)
        return logits, torch.cat(self.seen, dim=1)

    def _insert(self, _block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self.prompts is None:
            return None
        tokens = inputs[0]  # (B, N, D)
        prompts = self.prompts.to(tokens).view(1, -1, tokens.shape[2]).expand(len(tokens), -1, -1)
        return torch.cat([tokens[:, :1], prompts, tokens[:, 1:]], dim=1), *inputs[1:]

    def _look(self, norm: nn.Module, output: torch.Tensor) -> None:
        self.seen.append(norm(output[:, 0]))


def _blocks(network: nn.Module) -> tuple[list[nn.Module], list[nn.Module], int] | None:
    """Blocks of a vision transformer, the norm that follows each, and the side of a patch in pixels."""
    if type(network).__name__ != "VisionTransformer":
        return None
    if getattr(network, "global_pool", None) == "token" and getattr(network, "cls_token", None) is not None:  # timm
        blocks = list(network.blocks)  # type: ignore[arg-type]
        first, last, patch = "norm1", network.norm, network.patch_embed.patch_size[0]  # type: ignore[union-attr, index]
    elif hasattr(network, "class_token"):  # torchvision
        blocks = list(network.encoder.layers)  # type: ignore[union-attr, arg-type]
        first, last, patch = "ln_1", network.encoder.ln, network.patch_size  # type: ignore[union-attr]
    else:
        return None
    return blocks, [*(getattr(block, first) for block in blocks[1:]), last], int(patch)
