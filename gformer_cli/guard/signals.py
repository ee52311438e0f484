"""What can be told about a batch without labels: the signals that the guard decides by."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gformer_cli.core.generalizeformer import Prediction
from gformer_cli.core.losses import entropy, marginal_entropy, rms
from gformer_cli.core.probe import statistic_shifts
from gformer_cli.core.statistics import mean_by_layer, owners

SIGNALS = (
    "batch_size",
    "roughness",
    "residual",
    "residual_classifier",
    "mixing",
    "statistics_moved",
    "statistics_stretched",
    "features_stretched",
    "entropy",
    "entropy_change",
    "diversity",
    "source_diversity",
    "marginals_changed",
    "agreement",
    "confidence",
)
"""All that `batch_signals` gives."""
WEIGHED = (
    "roughness",
    "residual_classifier",
    "statistics_stretched",
    "features_stretched",
    "entropy_change",
    "diversity",
    "source_diversity",
    "agreement",
)
"""The signals that a guard is fitted on, and its two scores add up. The others are for whoever reads a decision."""
_FLAT = 0.01
"""In units of the network's input: less contrast is none."""


def batch_signals(images: torch.Tensor, source_logits: torch.Tensor, prediction: Prediction) -> dict[str, float]:
    """Signals of one batch of images (B, C, H, W). `source_logits` (B, K) are those of the unadapted model.

    batch_size            B
    roughness             logarithm of an image's mean slope over its contrast, averaged: low for empty walls, high for
                          noise, and the same however bright, pale or inverted the image is
    residual              the largest over layers of the change of γ and β, in units of rms(γ_l)
    residual_classifier   the change of W, in units of rms(W)
    mixing                the mean over layers of the weight of the batch's statistics
    statistics_moved      how far the batch's means lie from the source's, averaged over channels, then layers
    statistics_stretched  the same of the standard deviations' logarithms, and of that the logarithm
    features_stretched    how far they lie in the last layer, with the sign: below 0 where images look alike to it
    entropy               mean entropy of the predictions under generated parameters, in nats
    entropy_change        how much more that is than under the source model
    diversity             entropy of the class marginal under generated parameters, in nats
    source_diversity      the same under the source model: low where images are of one class, or where it has collapsed
    marginals_changed     total variation between that marginal and the source model's, 0 to 1
    agreement             share of the images whose label the source model gives too
    confidence            mean probability of the label under generated parameters
    """
    figures = signal_tensors(images, source_logits, prediction)
    values = torch.stack(list(figures.values())).tolist()  # one transfer from the device, not one a figure
    return {"batch_size": float(len(images)), **dict(zip(figures, values, strict=True))}


def signal_tensors(
    images: torch.Tensor, source_logits: torch.Tensor, prediction: Prediction
) -> dict[str, torch.Tensor]:
    """`batch_signals` as scalars on the device, without `batch_size`."""
    probe, parameters = prediction.probe, prediction.parameters
    assert parameters.mix is not None
    before, after = source_logits.softmax(dim=1), prediction.logits.softmax(dim=1)
    moved, stretched = (torch.cat(parts) for parts in statistic_shifts(probe))
    change = _squares(parameters.gammas, probe.source.gammas) + _squares(parameters.betas, probe.source.betas)
    own = torch.cat(probe.source.gammas).square()
    sizes = [len(gamma) for gamma in parameters.gammas]
    figures_of = torch.stack([change, own, moved.abs(), stretched.abs()], dim=1)
    means = mean_by_layer(figures_of, owners(sizes, change.device), sizes)  # (L, 4)
    changed, size, statistics_moved, statistics_stretched = means.unbind(dim=1)
    certain = entropy(prediction.logits)
    return {
        "roughness": _roughness(images),
        "residual": (changed / (2.0 * size).clamp_min(1e-12)).max().sqrt(),
        "residual_classifier": rms(parameters.weight - probe.source.weight) / rms(probe.source.weight),
        "mixing": parameters.mix.mean(),
        "statistics_moved": statistics_moved.mean(),
        "statistics_stretched": statistics_stretched.mean().clamp_min(1e-6).log(),
        "features_stretched": stretched[-len(parameters.gammas[-1]) :].mean(),
        "entropy": certain,
        "entropy_change": certain - entropy(source_logits),
        "diversity": marginal_entropy(prediction.logits),
        "source_diversity": marginal_entropy(source_logits),
        "marginals_changed": 0.5 * (after.mean(dim=0) - before.mean(dim=0)).abs().sum(),
        "agreement": (before.argmax(dim=1) == after.argmax(dim=1)).to(certain.dtype).mean(),
        "confidence": after.max(dim=1).values.mean(),
    }


def _roughness(images: torch.Tensor) -> torch.Tensor:
    grey = images.mean(dim=1)  # (B, H, W)
    down, across = (grey.diff(dim=axis).abs().sum(dim=(1, 2)) for axis in (1, 2))
    slope = (down + across) / grey[0].numel()
    contrast = grey.flatten(1).std(dim=1, correction=0)
    return ((slope + _FLAT) / (contrast + _FLAT)).log().mean()


def _squares(after: Sequence[torch.Tensor], before: Sequence[torch.Tensor]) -> torch.Tensor:
    """(ΣC,) squared differences."""
    return (torch.cat(tuple(after)) - torch.cat(tuple(before))).square()
