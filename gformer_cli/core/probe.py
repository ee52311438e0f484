"""The probe: one pass of the source model over a target batch, and what the generator may read of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone, Observation
from gformer_cli.core.gradients import GradientFeatures, gradient_features
from gformer_cli.core.parameters import Parameters
from gformer_cli.networks.norms import Statistics


@dataclass(frozen=True)
class Probe:
    """What a target batch of B images shows to the source model. Nothing in it records gradients."""

    source: Parameters
    """θ_s under the probe's statistics; its `mix` (L,) is the mixing that a zero residual keeps."""
    source_means: tuple[torch.Tensor, ...]
    """Per BatchNorm layer the source's running mean, (C_l,)."""
    source_variances: tuple[torch.Tensor, ...]
    means: tuple[torch.Tensor, ...]
    """Per BatchNorm layer the batch's mean, (C_l,)."""
    variances: tuple[torch.Tensor, ...]
    logits: torch.Tensor
    """(B, K)"""
    features: torch.Tensor
    """Input of the classifier, (B, D)."""
    gradients: GradientFeatures | None
    """None when the generator reads no gradients."""


@dataclass(frozen=True)
class Economy:
    """What a probe leaves out, so that it costs less than a pass of the whole batch."""

    images: float = 1.0
    """Share of a batch's images that are probed, evenly spaced over it. Below 1 their order matters."""
    scale: float = 1.0
    """Of the images' sides in the probe."""
    gradient_layers: int | None = None
    """Gradient features of so many BatchNorm layers nearest to the classifier, where the backward pass ends; the
    others' are 0. None for all."""

    def __post_init__(self) -> None:
        if not (0.0 < self.images <= 1.0 and 0.0 < self.scale <= 1.0):
            raise ValueError(f"shares of a probe must be in (0, 1], not {self.images:g} and {self.scale:g}")

    @property
    def whole(self) -> bool:
        """Whether the probe sees the batch as it is, so that its logits are the batch's."""
        return self.images == 1.0 and self.scale == 1.0

    def part_of(self, images: torch.Tensor) -> torch.Tensor:
        """The images (n, 3, h, w) to probe of a batch (B, 3, H, W), at least one of at least one pixel."""
        count = max(1, round(self.images * len(images)))
        if count < len(images):
            images = images[torch.arange(count, device=images.device) * len(images) // count]
        if self.scale < 1.0:
            size = [max(1, round(self.scale * side)) for side in images.shape[-2:]]
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        return images


def prior_mix(backbone: Backbone, batch_size: int, prior_count: float) -> torch.Tensor:
    """The mixing n / (n + N) for every layer, (L,): the source counts as N images. (arXiv 2006.16971, eq. 3.)"""
    share = batch_size / (batch_size + prior_count)
    return torch.full(
        (len(backbone.layer_names),),
        share,
        device=backbone.classifier.weight.device,
        dtype=backbone.classifier.weight.dtype,
    )


def probe(
    backbone: Backbone,
    images: torch.Tensor,
    *,
    prior_count: float,
    gradients: bool,
    gradient_layers: int | None = None,
    earlier: Sequence[Statistics] | None = None,
) -> Probe:
    """Run the frozen source model on images (B, 3, H, W) under mixed statistics, once.

    `prior_count` is N of `prior_mix`. With `gradients`, one backward pass gives the gradient features; the
    frozen convolutions get none, and it ends at the last `gradient_layers` BatchNorm layers. With `earlier` (one per
    layer) the images are normalised as if those of `earlier` were in the batch; all else that the probe holds is of
    `images` alone.
    """
    source = backbone.source_parameters().detached()
    count = len(images) + (earlier[0].count if earlier else 0)
    source = source.with_mix(prior_mix(backbone, count, prior_count))
    with torch.set_grad_enabled(gradients):
        leaves = source.detached(requires_grad=True) if gradients else source
        skipped = 0 if gradient_layers is None else max(0, len(leaves.gammas) - gradient_layers)
        for leaf in (*leaves.gammas[:skipped], *leaves.betas[:skipped]):
            leaf.requires_grad_(False)
        logits, seen = backbone.observe(images, leaves, earlier)
        assert seen.features is not None
        found = gradient_features(logits, seen.features, leaves) if gradients else None
    return probe_from(backbone, source, seen, logits, found)


def probe_from(
    backbone: Backbone,
    source: Parameters,
    seen: Observation,
    logits: torch.Tensor,
    gradients: GradientFeatures | None = None,
) -> Probe:
    """What a pass has shown, as a `Probe`; `logits` (B, K) are those under the source's classifier."""
    assert seen.features is not None
    layers = backbone.layers
    order = range(len(layers))
    return Probe(
        source=source,
        source_means=tuple(layer.running_mean for layer in layers),
        source_variances=tuple(layer.running_var for layer in layers),
        means=tuple(seen.means[index] for index in order),
        variances=tuple(seen.variances[index] for index in order),
        logits=logits.detach(),
        features=seen.features.detach(),
        gradients=gradients,
    )


def statistic_shifts(seen: Probe) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Per layer how far the batch's statistics lie from the source's: two lists of (C_l,).

    The first is the difference of the means in source standard deviations, the second the logarithm of the ratio
    of the standard deviations; both pass through asinh, so that a dead channel cannot drown the others.
    """
    shifts = statistic_shift(*map(torch.cat, (seen.source_means, seen.source_variances, seen.means, seen.variances)))
    sizes = [len(mean) for mean in seen.means]
    moved, stretched = (list(torch.split(part, sizes)) for part in shifts)
    return moved, stretched


def statistic_shift(
    mean_s: torch.Tensor, var_s: torch.Tensor, mean: torch.Tensor, var: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`statistic_shifts` of channels: the source's and the batch's statistics, (C,) each, to two tensors (C,)."""
    moved = torch.asinh((mean - mean_s) * (var_s + 1e-5).rsqrt())
    return moved, torch.asinh(0.5 * ((var + 1e-5) / (var_s + 1e-5)).log())
