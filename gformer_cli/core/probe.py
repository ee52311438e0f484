"""The probe: one pass of the source model over a target batch, and what the generator may read of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.gradients import GradientFeatures, gradient_features
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.session import Session
from gformer_cli.core.statistics import Statistics, statistic_shift


@dataclass(frozen=True)
class Probe:
    """What a target batch of B images shows to the source model. Nothing in it records gradients."""

    source: Parameters
    """θ_s under the probe's statistics; its `mix` (L,) is the mixing that a zero residual keeps."""
    source_means: tuple[torch.Tensor, ...]
    """Per layer the source's running mean, (C_l,)."""
    source_variances: tuple[torch.Tensor, ...]
    means: tuple[torch.Tensor, ...]
    """Per layer the batch's mean, (C_l,)."""
    variances: tuple[torch.Tensor, ...]
    logits: torch.Tensor
    """(B, K)"""
    features: torch.Tensor
    """Input of the classifier, (B, D)."""
    gradients: GradientFeatures | None
    """None when the generator reads no gradients."""


def part_of(images: torch.Tensor, share: float) -> torch.Tensor:
    """A `share` of a batch (B, 3, H, W), evenly spaced over it, at least one image. Their order matters below 1."""
    if share == 1.0:
        return images
    count = max(1, round(share * len(images)))
    return images[torch.arange(count, device=images.device) * len(images) // count]


def prior_mix(source: Parameters, batch_size: int, prior_count: float) -> torch.Tensor:
    """The mixing n / (n + N) for every layer, (L,): the source counts as N images. (arXiv 2006.16971, eq. 3.)"""
    count = torch.scalar_tensor(batch_size, dtype=source.weight.dtype, device=source.weight.device)
    return (count / (count + prior_count)).expand(len(source.gammas))


def probe_source(
    backbone: Backbone,
    images: torch.Tensor,
    *,
    prior_count: float,
    gradients: bool,
    earlier: Sequence[Statistics] | None = None,
    plain: bool = False,
) -> Probe:
    """Run the frozen source model on images (B, 3, H, W) under mixed statistics, once.

    `prior_count` is N of `prior_mix`. With `gradients`, one backward pass gives the gradient features; the
    frozen convolutions get none. With `earlier` (one per layer) the images are normalised as if those of `earlier` were
    in the batch; all else that the probe holds is of `images` alone. With `plain` they are normalised as the source
    model does it, and the logits are its own; mixing starts where it starts without.
    """
    source = backbone.source_parameters().detached()
    count = images.shape[0] + (earlier[0].count if earlier else 0)
    source = source.with_mix(prior_mix(source, count, prior_count))
    with torch.set_grad_enabled(gradients):
        leaves = source.detached(requires_grad=True) if gradients else source
        if plain:
            leaves, earlier = leaves.with_mix(None), None
        logits, session = backbone.observe(images, leaves, earlier)
        assert session.features is not None
        features = gradient_features(logits, session.features, leaves) if gradients else None
    return probe_of(backbone, source, session, logits, features)


def probe_of(
    backbone: Backbone,
    source: Parameters,
    session: Session,
    logits: torch.Tensor,
    gradients: GradientFeatures | None = None,
) -> Probe:
    """What a pass has shown, as a `Probe`; `logits` (B, K) are those under the source's classifier."""
    assert session.features is not None
    layers = backbone.layers
    order = range(len(layers))
    return Probe(
        source=source,
        source_means=tuple(layer.running_mean for layer in layers),
        source_variances=tuple(layer.running_var for layer in layers),
        means=tuple(session.means[index] for index in order),
        variances=tuple(session.variances[index] for index in order),
        logits=logits.detach(),
        features=session.features.detach(),
        gradients=gradients,
    )


def statistic_shifts(probe: Probe) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Per layer how far the batch's statistics lie from the source's (`statistics.statistic_shift`): two lists of
    (C_l,)."""
    source = torch.cat(probe.source_means), torch.cat(probe.source_variances)
    batch = torch.cat(probe.means), torch.cat(probe.variances)
    sizes = [len(mean) for mean in probe.means]
    moved, stretched = (list(torch.split(part, sizes)) for part in statistic_shift(source, batch))
    return moved, stretched
