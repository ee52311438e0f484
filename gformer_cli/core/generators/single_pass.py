"""Generation in a single pass: each layer's parameters are made as the batch reaches it.

What the `channel` generator reads of a BatchNorm layer is what the batch shows up to that layer, so no pass has to
come before: the transformer is causal over the layers, in the order in which the network runs them. The classifier,
last, sees everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone, Observation
from gformer_cli.core.generators.base import moved_affine, moved_classifier, moved_mix, positions
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, prior_mix, probe_from, statistic_shift

if TYPE_CHECKING:
    from gformer_cli.core.generators.channel import ChannelGenerator


class SinglePass:
    """One pass of one batch of images (B, 3, H, W) under parameters that are generated on the way.

    Args:
        generator: without gradient features: there is no backward pass to take them from.
        backbone: the frozen source model.
        images: the batch.
        prior_count: N of `probe.prior_mix`, from which the mixing starts.
    """

    def __init__(
        self, generator: ChannelGenerator, backbone: Backbone, images: torch.Tensor, *, prior_count: float
    ) -> None:
        if generator.reads_gradients:
            raise ValueError("a single pass has no gradient features")
        self.generator = generator
        self.backbone = backbone
        self.images = images
        source = backbone.source_parameters().detached()
        self.source = source.with_mix(prior_mix(backbone, len(images), prior_count))
        self.layers = backbone.layers
        self.depth = positions(len(self.layers), images.device)
        self.attention = CausalTransformer(generator.transformer)
        self.affine = list(zip(self.source.gammas, self.source.betas, strict=True))
        self.mixes = list(self._start_mix.unbind())
        self.seen = Observation()

    def run(self) -> tuple[torch.Tensor, Parameters, Probe]:
        """The logits (B, K), the parameters that gave them, and what those were generated from."""
        logits = self.backbone.generate(self.images, self._layer, self._classify)
        parameters = Parameters(
            gammas=tuple(gamma for gamma, _ in self.affine),
            betas=tuple(beta for _, beta in self.affine),
            mix=torch.stack(self.mixes),
            weight=self.weight,
            bias=self.bias,
        )
        return logits, parameters, probe_from(self.backbone, self.source, self.seen, self.logits)

    @property
    def _start_mix(self) -> torch.Tensor:
        assert self.source.mix is not None
        return self.source.mix

    def _layer(
        self, index: int, mean: torch.Tensor, variance: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.seen.means[index], self.seen.variances[index] = mean.detach(), variance.detach()
        generator, layer, scope = self.generator, self.layers[index], self.generator.scope
        gamma, beta = self.source.gammas[index], self.source.betas[index]
        owner = torch.zeros(len(gamma), dtype=torch.long, device=gamma.device)
        moved, stretched = statistic_shift(layer.running_mean, layer.running_var, mean, variance)
        evidence = generator.layer_evidence(
            [gamma],
            [beta],
            ([moved], [stretched]),
            None,
            depth=self.depth[index : index + 1],
            batch_size=len(self.images),
            owner=owner,
        )
        token = generator.norm(self.attention(evidence.tokens))  # (1, width)
        if scope.generates_layer(index, len(self.layers)):
            residuals = generator.layer_residuals(evidence, token, owner)  # (C, 2)
            self.affine[index] = moved_affine(gamma, beta, residuals[:, 0], residuals[:, 1])
        if scope.mixing:
            self.mixes[index] = moved_mix(self._start_mix[index], generator.mix_head(token)[0, 0])
        return *self.affine[index], self.mixes[index]

    def _classify(self, features: torch.Tensor) -> torch.Tensor:
        generator, source, scope = self.generator, self.source, self.generator.scope
        logits = F.linear(features, source.weight, source.bias)
        self.seen.features, self.logits = features.detach(), logits.detach()
        self.weight, self.bias = source.weight, source.bias
        if scope.classifier:
            evidence = generator.class_evidence(source, logits, features, None)
            tokens = torch.cat([generator.batch_evidence(logits), evidence.tokens])  # (1 + K, width)
            tokens = generator.norm(self.attention(tokens))[1:]
            weight, bias = generator.class_residuals(evidence, tokens)
            bias = bias if scope.bias else torch.zeros_like(bias)
            self.weight, self.bias = moved_classifier(source.weight, source.bias, weight, bias)
        return F.linear(features, self.weight, self.bias)


class CausalTransformer:
    """A pre-norm transformer encoder fed group by group: tokens see their own group and all groups before."""

    def __init__(self, transformer: nn.TransformerEncoder) -> None:
        self.blocks: list[nn.TransformerEncoderLayer] = list(transformer.layers)
        self.before: list[list[torch.Tensor]] = [[] for _ in self.blocks]

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, width) of the next group to their outputs (n, width)."""
        for block, before in zip(self.blocks, self.before, strict=True):
            normed = block.norm1(tokens)
            before.append(normed)
            seen = torch.cat(before)
            tokens = tokens + block.self_attn(normed, seen, seen, need_weights=False)[0]
            tokens = tokens + block.linear2(block.activation(block.linear1(block.norm2(tokens))))
        return tokens
