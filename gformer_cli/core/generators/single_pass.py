"""Generation in a single pass: each layer's parameters are made as the batch reaches it.

What the `channel` generator reads of a BatchNorm layer is what the batch shows up to that layer, so no pass has to
come before: the transformer is causal over the layers, in the order in which the network runs them. The classifier,
last, sees everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone, Observation
from gformer_cli.core.context import Context
from gformer_cli.core.generators.base import Passed, moved_affine, moved_classifier, moved_mix
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, prior_mix, probe_from, statistic_shift
from gformer_cli.networks.norms import Statistics, pool

if TYPE_CHECKING:
    from gformer_cli.core.generators.channel import ChannelGenerator


class SinglePass:
    """One pass of one batch of images (B, 3, H, W) under parameters that are generated on the way.

    Args:
        generator: without gradient features: there is no backward pass to take them from.
        backbone: the frozen source model.
        images: the batch.
        prior_count: N of `probe.prior_mix`, from which the mixing starts.
        context: earlier batches of the same domain, whose statistics, features and logits count as the batch's own;
            the batch becomes a part of it.
    """

    def __init__(
        self,
        generator: ChannelGenerator,
        backbone: Backbone,
        images: torch.Tensor,
        *,
        prior_count: float,
        context: Context | None = None,
    ) -> None:
        if generator.reads_gradients:
            raise ValueError("a single pass has no gradient features")
        self.generator = generator
        self.backbone = backbone
        self.images = images
        self.prior_count = prior_count
        self.context = context
        self.layers = backbone.layers
        self.attention = CausalTransformer(generator.transformer)
        self.always = None if generator.constant is None else generator.constant.learned()
        self.seen = Observation()
        self._begin(context.adapted if context is not None else None)

    def _begin(self, earlier: Sequence[Statistics] | None) -> None:
        self.earlier = earlier
        self.count = len(self.images) + (earlier[0].count if earlier else 0)
        start = prior_mix(self.backbone, self.count, self.prior_count)
        self.source = self.backbone.source_parameters().detached().with_mix(start)
        self.known = self.generator.source_evidence(self.source, self.count).split()
        self.affine = list(zip(self.source.gammas, self.source.betas, strict=True))
        self.start = start.unbind()
        self.mixes = list(self.start)

    def run(self) -> Passed:
        """The logits (B, K), the parameters that gave them, and what those were generated from."""
        logits = self.backbone.generate(self.images, self._layer, self._classify)
        parameters = Parameters(
            gammas=tuple(gamma for gamma, _ in self.affine),
            betas=tuple(beta for _, beta in self.affine),
            mix=torch.stack(self.mixes),
            weight=self.weight,
            bias=self.bias,
        )
        if self.context is not None:
            self.context.remember(self.own, self.seen)
        return logits, parameters, self.window, self.earlier

    def _layer(
        self, index: int, mean: torch.Tensor, variance: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        self.seen.means[index], self.seen.variances[index] = mean.detach(), variance.detach()
        if index == 0 and self.earlier and self.context is not None and self.context.jumps_to(self._first_layer()):
            self.context.forget()
            self._begin(None)
        if self.earlier:
            pooled = pool([self.earlier[index], Statistics(len(self.images), mean, variance)])
            mean, variance = pooled.mean, pooled.variance
        generator, layer, scope = self.generator, self.layers[index], self.generator.scope
        gamma, beta = self.source.gammas[index], self.source.betas[index]
        known = self.known[index]
        shift = statistic_shift(layer.running_mean, layer.running_var, mean, variance)
        evidence = generator.layer_evidence(known, shift, None)
        token = generator.norm(self.attention(evidence.tokens))  # (1, width)
        if scope.generates_layer(index, len(self.layers)):
            d_gamma, d_beta = generator.layer_residuals(evidence, token, known.owner).unbind(dim=1)
            if self.always is not None:
                d_gamma, d_beta = d_gamma + self.always.gammas[index], d_beta + self.always.betas[index]
            self.affine[index] = moved_affine(gamma, beta, d_gamma, d_beta, known.units)
        if scope.mixing:
            d_mix = generator.mix_head(token)[0, 0]
            if self.always is not None:
                d_mix = d_mix + self.always.mix[index]
            self.mixes[index] = moved_mix(self.start[index], d_mix)
        return *self.affine[index], self.mixes[index], mean, variance

    def _first_layer(self) -> Probe:
        """What the batch shows to the one layer whose input no parameter has touched."""
        nothing = self.images.new_empty(len(self.images), 0)
        layer, seen = self.layers[0], self.seen
        return Probe(
            source=self.source,
            source_means=(layer.running_mean,),
            source_variances=(layer.running_var,),
            means=(seen.means[0],),
            variances=(seen.variances[0],),
            logits=nothing,
            features=nothing,
            gradients=None,
        )

    def _classify(self, features: torch.Tensor) -> torch.Tensor:
        generator, source, scope = self.generator, self.source, self.generator.scope
        self.seen.features = features.detach()
        logits = F.linear(features, source.weight, source.bias)
        self.own = self.window = probe_from(self.backbone, source, self.seen, logits)
        known, looks = logits, features
        if self.earlier and self.context is not None:
            self.window = self.context.with_earlier(self.own)
            known, looks = self.window.logits, self.window.features
        self.weight, self.bias = source.weight, source.bias
        if scope.classifier:
            evidence = generator.class_evidence(source, known, looks, None)
            tokens = torch.cat([generator.batch_evidence(known), evidence.tokens()])  # (1 + K, width)
            tokens = generator.norm(self.attention(tokens))[1:]
            weight, bias = generator.class_residuals(evidence, tokens)
            if self.always is not None:
                weight, bias = weight + self.always.weight, bias + self.always.bias
            bias = bias if scope.bias else torch.zeros_like(bias)
            self.weight, self.bias = moved_classifier(source.weight, source.bias, weight, bias)
        return F.linear(features, self.weight, self.bias)


class CausalTransformer:
    """A pre-norm transformer encoder fed group by group: tokens see their own group and all groups before.

    The same as the encoder under a mask. Keys and values of what came before are kept, not computed again.
    """

    def __init__(self, transformer: nn.TransformerEncoder) -> None:
        self.blocks: list[nn.TransformerEncoderLayer] = list(transformer.layers)
        self.keys: list[list[torch.Tensor]] = [[] for _ in self.blocks]
        self.values: list[list[torch.Tensor]] = [[] for _ in self.blocks]

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, width) of the next group to their outputs (n, width)."""
        for block, keys, values in zip(self.blocks, self.keys, self.values, strict=True):
            attention = block.self_attn
            projected = F.linear(block.norm1(tokens), attention.in_proj_weight, attention.in_proj_bias)
            # (n, 3 width) -> three of (heads, n, width / heads)
            query, key, value = projected.view(len(tokens), 3, attention.num_heads, -1).permute(1, 2, 0, 3).unbind()
            keys.append(key)
            values.append(value)
            read = F.scaled_dot_product_attention(query, torch.cat(keys, dim=1), torch.cat(values, dim=1))
            tokens = tokens + attention.out_proj(read.transpose(0, 1).flatten(1))
            tokens = tokens + block.linear2(block.activation(block.linear1(block.norm2(tokens))))
        return tokens
