"""The probe: one pass of the source model over a target batch, and what the generator may read of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.batchnorm import Statistics
from gformer_cli.core.gradients import GradientFeatures, gradient_features
from gformer_cli.core.parameters import Parameters


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
    earlier: Sequence[Statistics] | None = None,
) -> Probe:
    """Run the frozen source model on images (B, 3, H, W) under mixed statistics, once.

    `prior_count` is N of `prior_mix`. With `gradients`, one backward pass gives the gradient features; the
    frozen convolutions get none. With `earlier` (one per layer) the images are normalised as if those of `earlier`
    were in the batch; all else that the probe holds is of `images` alone.
    """
    source = backbone.source_parameters().detached()
    count = len(images) + (earlier[0].count if earlier else 0)
    source = source.with_mix(prior_mix(backbone, count, prior_count))
    with torch.set_grad_enabled(gradients):
        leaves = source.detached(requires_grad=True) if gradients else source
        logits, seen = backbone.observe(images, leaves, earlier)
        assert seen.features is not None
        found = gradient_features(logits, seen.features, leaves) if gradients else None
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
        gradients=found,
    )


def statistic_shifts(seen: Probe) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Per layer how far the batch's statistics lie from the source's: two lists of (C_l,).

    The first is the difference of the means in source standard deviations, the second the logarithm of the ratio
    of the standard deviations; both pass through asinh, so that a dead channel cannot drown the others.
    """
    moved, stretched = [], []
    for mean_s, var_s, mean_b, var_b in zip(
        seen.source_means, seen.source_variances, seen.means, seen.variances, strict=True
    ):
        moved.append(torch.asinh((mean_b - mean_s) * (var_s + 1e-5).rsqrt()))
        stretched.append(torch.asinh(0.5 * ((var_b + 1e-5) / (var_s + 1e-5)).log()))
    return moved, stretched
