"""`pea`: outputs of blocks moved onto the source's mean and covariance, no gradients (Xiao et al., ICLR 2026).

The paper is "Architecture-Agnostic Test-Time Adaptation via Backprop-Free Embedding Alignment".
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from torch import nn
from torchvision.transforms.v2 import functional as transforms

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.losses import entropy
from gformer_cli.methods.base import Method, Parts
from gformer_cli.networks.norms import AdaptiveNorm

CROPPED = 0.9
"""Side of the centre that is one of the views."""
SMALLEST_WEIGHT = 1e-3
"""Blocks below are left as they are, and their moving statistics too."""
_EPSILON = 1e-5
"""Added to variances, and the least eigenvalue that is divided by."""
_CONTAINERS = (nn.Sequential, nn.ModuleList)


class Pea(Method):
    """Two passes, each over the images, their centres scaled up and, if the source model knows such, mirror images.

    1. Each block shows how far the mean and variance of its output lie from the source's: ‖μ - μ_s‖ + ‖σ² - σ_s²‖. Over
       the blocks these are scaled to [0, 1]: the weights w.
    2. Block by block the output x becomes (1 - w) x + w y, with y = (x - μ) Σ^(-1/2) Σ_s^(1/2) + μ_s. Channels are
       aligned in groups, positions count like images. μ and Σ move by `momentum` to those of each batch, and start
       anew where the mean absolute difference of the means exceeds `DRIFT` times its moving average.

    The logits are the mean over the views. All moving statistics start anew after a batch whose mean entropy exceeds
    its moving average by `rise`.

    A block is what a network repeats: the innermost modules with normalisation layers in its `Sequential`s and
    `ModuleList`s, or the normalisation layers where it repeats nothing. `prepare` measures the source; without it the
    predictions are the source model's.

    What differs from the authors' code: they know the blocks of ResNets and ViTs by name; the source's covariance is
    that of all images at once; they mirror always. As there, feature maps have groups of 32 channels, tokens of 768.

    Args:
        mirrored: whether to predict mirror images too.
        momentum: share of a batch in the moving mean and covariance.
        smoothing: share of a batch in the moving averages of drift and entropy.
        rise: in nats; the authors' for CIFAR with ResNets, else they have 1.
    """

    DRIFT: ClassVar = {True: 2.5, False: 4.0}
    """By whether the block gives feature maps."""
    GROUP: ClassVar = {True: 32, False: 768}

    reads_source: ClassVar[bool] = True
    without_source: ClassVar[str] = "is the source model"
    tunable: ClassVar = {"momentum": (0.005, 0.02, 0.1)}

    def __init__(
        self,
        backbone: Backbone,
        mirrored: bool,
        *,
        momentum: float = 0.02,
        smoothing: float = 0.2,
        rise: float = 0.5,
    ) -> None:
        super().__init__(backbone)
        self.mirrored = mirrored
        self.momentum = momentum
        self.smoothing = smoothing
        self.rise = rise
        self.network = copy.deepcopy(backbone.network)  # whose blocks are listened to
        self.blocks = [Block(unit) for unit in repeated_units(self.network)]
        self.ready = False
        self.reset()

    @classmethod
    def from_parts(cls, parts: Parts, **settings: Any) -> Pea:
        return cls(parts.backbone, parts.mirrored, **settings)

    def prepare(self, batches: Iterable[torch.Tensor]) -> None:
        self._measure(batches)
        self.ready = self.blocks[0].count > 1
        for block in self.blocks if self.ready else []:
            block.keep_source(self.GROUP[block.of_maps])

    def reset(self) -> None:
        self.level: float | None = None  # of the entropy
        for block in self.blocks:
            block.forget()

    @torch.no_grad()
    def predict(self, images: torch.Tensor) -> torch.Tensor:
        if not self.ready:
            return self.backbone(images)  # type: ignore[no-any-return]
        views = self._views(images)
        self._weigh(views)
        logits: torch.Tensor = self.network(views).unflatten(0, (-1, len(images))).mean(dim=0)
        for block in self.blocks:
            block.alignment = None
        seen = float(entropy(logits))
        if self.level is not None and seen > self.level + self.rise:
            self.reset()
        self.level = seen if self.level is None else self.level + self.smoothing * (seen - self.level)
        return logits

    @torch.no_grad()
    def _measure(self, batches: Iterable[torch.Tensor]) -> None:
        for block in self.blocks:
            block.listen()
        for images in batches:
            self.network(images)
        for block in self.blocks:
            block.listening = False

    def _weigh(self, views: torch.Tensor) -> None:
        """The first pass."""
        self._measure([views])
        scores = torch.stack([block.distance() for block in self.blocks])
        low, high = scores.aminmax()
        weights = (scores - low) / (high - low) if high > low else torch.zeros_like(scores)
        for block, weight in zip(self.blocks, weights.tolist(), strict=True):
            if weight >= SMALLEST_WEIGHT:
                block.alignment = weight, self.momentum, self.smoothing, self.DRIFT[block.of_maps]

    def _views(self, images: torch.Tensor) -> torch.Tensor:
        """(V · B, 3, S, S), view by view."""
        size = images.shape[-1]
        centre = transforms.center_crop(images, [max(1, round(CROPPED * size))] * 2)
        views = [images, transforms.resize(centre, [size, size], antialias=False)]
        return torch.cat([*views, images.flip(3)] if self.mirrored else views)


def repeated_units(network: nn.Module) -> list[nn.Module]:
    """The innermost modules with adaptive norms, themselves none, that a `Sequential` or `ModuleList` holds.

    Where there is none of these, the adaptive norms.
    """
    held = {id(child) for module in network.modules() if isinstance(module, _CONTAINERS) for child in module}
    units = [
        module
        for module in network.modules()
        if id(module) in held
        and not isinstance(module, (AdaptiveNorm, *_CONTAINERS))
        and any(isinstance(inner, AdaptiveNorm) for inner in module.modules())
    ]
    if not units:
        return [module for module in network.modules() if isinstance(module, AdaptiveNorm)]
    names = {id(unit) for unit in units}
    return [unit for unit in units if not any(id(inner) in names for inner in unit.modules() if inner is not unit)]


class Block:
    """Listens to the output of `unit`, and aligns it where it is told to."""

    def __init__(self, unit: nn.Module) -> None:
        self.widths = {len(norm.weight) for norm in unit.modules() if isinstance(norm, AdaptiveNorm)}
        self.of_maps = True
        self.listening = False
        self.alignment: tuple[float, float, float, float] | None = None
        """Weight, momentum, smoothing, and the drift that is too much."""
        self.listen()
        self.listening = False
        self.forget()
        unit.register_forward_hook(self._hook)

    def listen(self) -> None:
        """From now on sum up what passes."""
        self.listening = True
        self.count = 0
        self.total: torch.Tensor | float = 0.0
        self.products: torch.Tensor | float = 0.0

    def forget(self) -> None:
        self.moving: tuple[torch.Tensor, torch.Tensor] | None = None
        self.drift = 0.0

    def keep_source(self, group: int) -> None:
        """What was heard is the source."""
        self.source_mean, covariance = self.moments()
        self.source_variance = covariance.diagonal()
        covariance = covariance + _EPSILON * torch.eye(len(covariance)).to(covariance)
        self.groups = [slice(first, first + group) for first in range(0, len(covariance), group)]
        self.source_roots = [_power(covariance[rows, rows], 0.5, 0.0) for rows in self.groups]

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean (C,) and unbiased covariance (C, C) of what was heard."""
        assert isinstance(self.total, torch.Tensor) and isinstance(self.products, torch.Tensor)
        mean = self.total / self.count
        covariance = (self.products - self.count * torch.outer(mean, mean)) / max(1, self.count - 1)
        return mean.to(self.dtype), covariance.to(self.dtype)

    def distance(self) -> torch.Tensor:
        """How far what was heard lies from the source: scalar."""
        mean, covariance = self.moments()
        means, variances = mean - self.source_mean, covariance.diagonal() - self.source_variance
        found: torch.Tensor = torch.linalg.vector_norm(means) + torch.linalg.vector_norm(variances)
        return found

    def _hook(self, _unit: nn.Module, _inputs: Any, output: Any) -> Any:
        if not self.listening and self.alignment is None:
            return None
        first = output[0] if isinstance(output, tuple) else output
        axis = 1 if first.dim() == 4 and (first.shape[1] in self.widths or first.shape[-1] not in self.widths) else -1
        self.of_maps = first.dim() == 4
        rows = first.movedim(axis, -1)
        values = rows.reshape(-1, rows.shape[-1])  # (N, C)
        if self.listening:
            self._sum_up(values)
            return None
        aligned = self._aligned(values).view(rows.shape).movedim(-1, axis)
        return (aligned, *output[1:]) if isinstance(output, tuple) else aligned

    def _sum_up(self, values: torch.Tensor) -> None:
        self.dtype = values.dtype
        exact = values.double()
        self.count += len(values)
        self.total = self.total + exact.sum(dim=0)
        self.products = self.products + exact.T @ exact

    def _aligned(self, values: torch.Tensor) -> torch.Tensor:
        assert self.alignment is not None
        weight, momentum, smoothing, limit = self.alignment
        self._follow(values, momentum, smoothing, limit)
        assert self.moving is not None
        mean, covariance = self.moving
        centred = values - mean
        parts = [
            centred[:, rows] @ _power(covariance[rows, rows], -0.5, _EPSILON) @ root
            for rows, root in zip(self.groups, self.source_roots, strict=True)
        ]
        return torch.lerp(values, torch.cat(parts, dim=1) + self.source_mean, weight)

    def _follow(self, values: torch.Tensor, momentum: float, smoothing: float, limit: float) -> None:
        """The moving mean and covariance take values (N, C) in."""
        mean = values.mean(dim=0)
        centred = values - mean
        covariance = centred.T @ centred / max(1, len(values) - 1) + _EPSILON * torch.eye(len(mean)).to(values)
        if self.moving is None:
            self.moving = mean, covariance
            return
        drift = float((mean - self.moving[0]).abs().mean())
        self.drift += smoothing * (drift - self.drift)
        if drift > limit * self.drift:
            self.moving = mean, covariance
        else:
            self.moving = self.moving[0].lerp(mean, momentum), self.moving[1].lerp(covariance, momentum)


def _power(matrix: torch.Tensor, exponent: float, least: float) -> torch.Tensor:
    """Of a symmetric matrix (C, C) whose eigenvalues are held at `least` or above."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(least).pow(exponent)) @ vectors.mT  # type: ignore[no-any-return]
