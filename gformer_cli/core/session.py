"""One pass of one batch: the parameters that it runs under, and everything that it shows on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.parameters import Parameters
from gformer_cli.core.statistics import Statistics, pool
from gformer_cli.networks.norms import AdaptiveNorm, Affine, Moments, within


class Session:
    """A pass under given parameters θ. It belongs to one batch, and is all that changes while that batch passes.

    Args:
        parameters: θ.
        earlier: per layer the statistics of other images, which the batch's are pooled with wherever `parameters` mix
            batch statistics in.
        observing: take down each layer's statistics also where `parameters` do not need them.
    """

    def __init__(
        self,
        parameters: Parameters,
        *,
        earlier: Sequence[Statistics] | None = None,
        observing: bool = False,
    ) -> None:
        self.parameters = parameters
        self.earlier = earlier
        self.observing = observing
        self.batch_size = 0
        self.features: torch.Tensor | None = None
        """Input of the classifier, (B, D)."""
        self.means: dict[int, torch.Tensor] = {}
        """Per layer the batch's own mean, (C_l,), without gradients."""
        self.variances: dict[int, torch.Tensor] = {}
        """Likewise the biased variance."""
        self._mixes = None if parameters.mix is None else parameters.mix.unbind()

    def run(self, network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of images (B, 3, H, W). `network` is read, never written to."""
        self.batch_size = images.shape[0]
        with within(self):
            logits: torch.Tensor = network(images)
        return logits

    def normalise(self, layer: AdaptiveNorm, measure: Callable[[], Moments]) -> Affine:
        """γ, β and the statistics that `layer` normalises with (see `networks.norms.Pass`)."""
        if self._mixes is None and not self.observing:
            return self.affine(layer, None)
        mean, variance = measure()
        self.means[layer.index], self.variances[layer.index] = mean.detach(), variance.detach()
        return self.affine(layer, (mean, variance))

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (B, K) of features (B, D)."""
        self.features = features
        return F.linear(features, *self.classifier)

    @property
    def classifier(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weights (K, D) and the bias (K,) that classify, once the pass is there."""
        return self.parameters.weight, self.parameters.bias

    def affine(self, layer: AdaptiveNorm, batch: Moments | None) -> Affine:
        """What `layer` does under θ, where the batch has shown it these statistics."""
        theta, index = self.parameters, layer.index
        statistics: Moments | None = None
        if self._mixes is not None:
            assert batch is not None
            statistics = layer.mixed(self.pooled(index, batch), self._mixes[index])
        elif theta.means is not None and theta.variances is not None:
            statistics = theta.means[index], theta.variances[index]
        return Affine(theta.gammas[index], theta.betas[index], statistics)

    def pooled(self, index: int, batch: Moments) -> Moments:
        """The statistics of the batch at layer `index` and of the earlier images together."""
        if self.earlier is None:
            return batch
        together = pool([self.earlier[index], Statistics(self.batch_size, *batch)])
        return together.mean, together.variance
