"""A static model: parameters that were generated once, from a sample of one condition, and serve every batch of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe


class StaticModel(nn.Module):
    """Predicts every batch with the same θ, in one plain pass. In the place of a `GeneralizeFormer`.

    It looks at no batch: `Prediction.probe` holds the statistics that were kept.

    Args:
        theta: with `means` and `variances` and without `mix`: nothing in it depends on the batch at hand.
    """

    def __init__(self, theta: Parameters) -> None:
        super().__init__()
        if theta.mix is not None or theta.means is None or theta.variances is None:
            raise ValueError("static parameters hold statistics of their own and mix in none of a batch")
        self.gammas, self.betas = _kept(theta.gammas), _kept(theta.betas)
        self.means, self.variances = _kept(theta.means), _kept(theta.variances)
        self.classifier = _kept((theta.weight, theta.bias))

    @property
    def theta(self) -> Parameters:
        """The parameters, not copies."""
        weight, bias = self.classifier
        return Parameters(
            tuple(self.gammas), tuple(self.betas), None, weight, bias, tuple(self.means), tuple(self.variances)
        )

    def forward(self, backbone: Backbone, images: torch.Tensor, context: Context | None = None) -> Prediction:
        """Predict a batch (B, 3, H, W). What one image gets depends on no other, of this batch or of a context."""
        theta, layers = self.theta, backbone.layers
        assert theta.means is not None and theta.variances is not None
        logits = backbone(images, theta)
        probe = Probe(
            source=backbone.source_parameters().detached().with_mix(torch.zeros(len(layers), device=logits.device)),
            source_means=tuple(layer.running_mean for layer in layers),
            source_variances=tuple(layer.running_var for layer in layers),
            means=theta.means,
            variances=theta.variances,
            logits=logits,
            features=logits.new_empty(logits.shape[0], 0),
            gradients=None,
        )
        return Prediction(logits, theta, probe)


class StaticSample:
    """Turns what is generated for the batches of a sample into one static θ; holds sums, never images.

    γ, β, W, b and the mixing are averaged over the batches. So are the statistics: the target's mean and variance
    are those of the batches pooled, each weighed by its mixing, and are then mixed with the source's. With one batch
    this is what its prediction was made with; with several, the variance between batches counts as well.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.images = 0
        self._trainable = [_zeros(tensor) for tensor in backbone.source_parameters().trainable()]
        self._mix = torch.zeros(len(backbone.layers), dtype=torch.float64)
        self._first = [_zeros(layer.running_mean) for layer in backbone.layers]
        self._second = [_zeros(layer.running_mean) for layer in backbone.layers]

    @torch.no_grad()
    def add(self, model: GeneralizeFormer, images: torch.Tensor) -> torch.Tensor:
        """Generate for a batch (B, 3, H, W) and count it in, weighed by B; returns its logits (B, K)."""
        count = len(images)
        theta = model(self.backbone, images).parameters
        assert theta.mix is not None
        # the statistics are those that the layers meet under θ: what a layer gets depends on the layers before it
        logits, met = self.backbone.observe(images, theta)
        self.images += count
        for total, tensor in zip(self._trainable, theta.trainable(), strict=True):
            total.add_(_exact(tensor), alpha=count)
        mix = _exact(theta.mix)
        self._mix += count * mix
        for index in range(len(mix)):
            mean, variance = _exact(met.means[index]), _exact(met.variances[index])
            self._first[index] += count * mix[index] * mean
            self._second[index] += count * mix[index] * (variance + mean.square())
        return logits

    def theta(self) -> Parameters:
        """The static parameters of what was added, on the CPU.

        Raises `ValueError` where nothing was added, or something that is not finite.
        """
        if not self.images:
            raise ValueError("no image was added")
        means, variances = [], []
        for index, layer in enumerate(self.backbone.layers):
            mean_s, variance_s = _exact(layer.running_mean), _exact(layer.running_var)
            share, weight = self._mix[index] / self.images, self._mix[index].clamp_min(1e-12)
            mean = self._first[index] / weight
            variance = (self._second[index] / weight - mean.square()).clamp_min(0.0)
            means.append(torch.lerp(mean_s, mean, share).to(layer.running_mean.dtype))
            variances.append(torch.lerp(variance_s, variance, share).to(layer.running_var.dtype))
        source = self.backbone.source_parameters()
        averaged = [
            (total / self.images).to(tensor.dtype)
            for total, tensor in zip(self._trainable, source.trainable(), strict=True)
        ]
        made = source.with_trainable(averaged).with_statistics(tuple(means), tuple(variances))
        if not all(bool(tensor.isfinite().all()) for tensor in [*averaged, *means, *variances]):
            raise ValueError("not every generated parameter is finite")
        return made


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().double()  # on the CPU: not every device has float64


def _zeros(like: torch.Tensor) -> torch.Tensor:
    return torch.zeros(like.shape, dtype=torch.float64)


def _kept(tensors: Sequence[torch.Tensor]) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(tensor.detach(), requires_grad=False) for tensor in tensors)
