"""The `channel` generator: tokens per layer and per class, heads that act per channel.

The paper's tokens are whole parameter vectors, zero-padded to the widest. Here a layer's token is pooled from
its channels by a shared network, the transformer works across layers and classes, and a shared head turns
each channel's own evidence and its layer's output into that channel's residuals. So nothing depends on
width, depth or class count, a permutation of channels or classes permutes the result, and one trained
generator serves any BatchNorm network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from gformer_cli.core.generators.attention import GroupAttention
from gformer_cli.core.generators.base import (
    POSITIONS,
    RESIDUAL_SCALE,
    Generator,
    Observed,
    Reads,
    Residuals,
    Scope,
    Step,
    encoder,
    positions,
    zero_start,
)
from gformer_cli.core.generators.constant import ConstantGenerator
from gformer_cli.core.generators.evidence import (
    ClassEvidence,
    Evidence,
    SourceEvidence,
    per_channel,
    pool_by_layer,
)
from gformer_cli.core.gradients import GradientFeatures
from gformer_cli.core.losses import entropy, marginal_entropy, rms
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.statistics import mean_by_layer, owners, statistic_shift

TRUST = 4.0
"""Log odds of the trust in an untrained generator's work: nearly all."""
_QUIET = 0.02
"""Nats: gradients that promise less count for little, so that the rounding of a sure batch is no direction."""


class ChannelGenerator(Generator):
    """Channel-wise heads under a transformer over layer, class and batch tokens.

    Args:
        width: token width of the transformer.
        depth: transformer layers.
        heads: attention heads; divides `width`.
        feed_forward: hidden width inside the transformer's layers.
        channel_width: width of the shared per-channel networks.
        reads: the ingredients that the tokens are made of.
        scope: the parameters that are generated.
        trusts: whether a probed batch is also given the share of its residuals and mixing that counts.
        probed_classes: see `Generator`.
        constant: what is generated comes on top of its residuals, and fits only networks of their shape.
    """

    reads_context = True
    layer_by_layer = True

    def __init__(
        self,
        *,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        feed_forward: int = 128,
        channel_width: int = 32,
        reads: Reads | None = None,
        scope: Scope | None = None,
        trusts: bool = False,
        probed_classes: bool = False,
        constant: ConstantGenerator | None = None,
    ) -> None:
        super().__init__(scope)
        self.constant = constant
        self.probed_classes = probed_classes
        self.reads = reads = reads or Reads()
        self.reads_gradients = reads.gradients
        # γ and β, the statistic shifts (mean, log-variance), the two gradients
        channel_facts = 2 + 2 * reads.statistics + 2 * reads.gradients
        # W, the batch's mean feature and the class's own, the gradient
        per_entry = 1 + 2 * reads.features + reads.gradients
        self.channel_input = _mlp(channel_facts, channel_width, channel_width)
        self.entry_input = _mlp(per_entry, channel_width, channel_width)
        per_layer = POSITIONS + 2 + 2 * reads.statistics + 2 * reads.gradients
        self.layer_token = nn.Linear(2 * channel_width + per_layer, width)
        self.class_token = nn.Linear(2 * channel_width + 3 + reads.gradients + 2 * reads.class_shares, width)
        self.batch_token = nn.Linear(4 + 4 * reads.class_shares, width)
        self.transformer = encoder(width, depth, heads, feed_forward)
        self.norm = nn.LayerNorm(width)
        self.channel_head = _Head(channel_width, width, 2)
        # no bias in the two class heads: what moves all classes alike moves no prediction
        self.entry_head = _Head(channel_width, width, 1, bias=False)
        # per layer and class also a linear map of the evidence, such as how far to step along the gradient
        self.channel_map = zero_start(nn.Linear(width, 2 * channel_facts))
        self.entry_map = zero_start(nn.Linear(width, per_entry))
        self.mix_head = zero_start(nn.Linear(width, 1))
        self.bias_head = zero_start(nn.Linear(width, 1, bias=False))
        # how far the bias follows the logarithm of the class shares, of the batch and with its context
        self.share_head = zero_start(nn.Linear(width, 2)) if reads.class_shares else None
        self.trust_head = zero_start(nn.Linear(width, 1)) if trusts else None
        if trusts:
            self.register_buffer("caution", torch.zeros(()))

    def begin(self, source: Parameters, batch_size: int) -> Step:
        return _ChannelStep(self, source, batch_size)

    def source_evidence(self, source: Parameters, batch_size: int) -> SourceEvidence:
        """What is known of all layers before a batch of `batch_size` images has shown anything."""
        sizes = tuple(len(gamma) for gamma in source.gammas)
        gammas, betas = torch.cat(source.gammas).detach(), torch.cat(source.betas).detach()
        owner = owners(sizes, gammas.device)
        both = mean_by_layer(torch.stack([gammas, betas], dim=1).square(), owner, sizes).sqrt().clamp_min(1e-6)
        unit, spread = both.unbind(dim=1)  # (L,) both
        relative = (spread / unit)[:, None]
        # how many values a channel's statistics rest on is unknown here; how many images is what matters
        size = _log_size(batch_size, gammas).expand_as(relative)
        return SourceEvidence(
            channels=torch.stack([gammas, betas], dim=1) / per_channel(unit[:, None], owner),
            layers=torch.cat([positions(len(sizes), gammas.device), relative, size], dim=1),
            units=unit,
            owner=owner,
            sizes=sizes,
        )

    def layer_evidence(
        self,
        source: SourceEvidence,
        shifts: tuple[torch.Tensor, torch.Tensor],
        gradients: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]] | None,
    ) -> Evidence:
        """What is known of some layers: `source`, statistic shifts (ΣC,) and gradients, sequences of (C_l,)."""
        owner = source.owner
        channel, layer = [source.channels], [source.layers]
        if self.reads.statistics:
            moved = torch.stack(shifts, dim=1)
            channel.append(moved)
            layer.append(mean_by_layer(moved.abs(), owner, source.sizes))
        if self.reads.gradients:
            assert gradients is not None
            for part in gradients:
                scale = torch.stack([rms(gradient) for gradient in part])
                # by how many nats the loss changes when the layer moves by its own size along the gradient
                slope = scale * source.units * scale.new_tensor(source.sizes).sqrt()
                channel.append((torch.cat(list(part)) * (slope / (slope + _QUIET) / scale)[owner])[:, None])
                layer.append(torch.asinh(100.0 * scale * source.units)[:, None])
        items = torch.cat(channel, dim=1)
        states = self.channel_input(items)  # (ΣC, h)
        pooled = pool_by_layer(states, source)  # (L, 2h)
        return Evidence(items, states, self.layer_token(torch.cat([pooled, *layer], dim=1)))

    def class_evidence(self, source: Parameters, observed: Observed) -> ClassEvidence:
        """What is known of the classes from logits (B, K) and features (B, D)."""
        logits, features, gradients = observed.logits, observed.features, observed.gradients
        assert logits is not None and features is not None
        probabilities = logits.softmax(dim=1)  # (B, K)
        expected = probabilities.mean(dim=0)  # (K,): the batch's class marginal
        scaled = features / features.square().mean().sqrt().clamp_min(1e-6)
        mean = scaled.mean(dim=0)  # (D,)
        per_class = [source.bias, (expected * len(expected) + 1e-3).log(), (probabilities.max(dim=0).values)]
        unit, steepest = rms(source.weight), torch.zeros(())
        if self.reads.gradients:
            assert gradients is not None
            per_class.append(gradients.bias * len(expected))
            steepest = rms(gradients.weight)
        if self.reads.class_shares:
            per_class += [log_shares(logits, observed.own), torch.full_like(source.bias, float(observed.last))]
        facts = torch.stack(per_class, dim=1)

        def of(rows: slice) -> Evidence:
            weight = source.weight[rows]
            entry = [weight / unit]
            if self.reads.features:
                own = probabilities[:, rows]
                # the mean feature of each class under its own predictions; the batch's mean where there are none
                prototype = (own.t() @ scaled + mean) / (own.sum(dim=0) + 1.0)[:, None]
                entry += [mean.expand_as(weight), prototype - mean]
            if gradients is not None and self.reads.gradients:
                entry.append(gradients.weight[rows] / steepest)
            items = torch.stack(entry, dim=2)
            states = self.entry_input(items)  # (k, D, h)
            pooled = torch.cat([states.mean(1), states.square().mean(1).add(1e-6).sqrt()], dim=1)  # (k, 2h)
            return Evidence(items, states, self.class_token(torch.cat([pooled, facts[rows]], dim=1)))

        return ClassEvidence(of, *source.weight.shape)

    def batch_evidence(self, observed: Observed) -> torch.Tensor:
        """The batch's token (1, width): size, entropies as shares of their maximum, confidence."""
        logits = observed.logits
        assert logits is not None
        most = math.log(max(logits.shape[1], 2))
        evidence = [
            _log_size(logits.shape[0], logits),
            entropy(logits) / most,
            marginal_entropy(logits) / most,
            logits.softmax(dim=1).max(dim=1).values.mean(),
        ]
        if self.reads.class_shares:
            own = logits if observed.own is None else logits[-observed.own :]
            evidence += [
                _log_size(own.shape[0], logits),
                marginal_entropy(own) / most,
                logits.new_tensor(most) / math.log(10.0) - 1.0,
                logits.new_tensor(float(observed.last)),
            ]
        token: torch.Tensor = self.batch_token(torch.stack(evidence))[None]
        return token

    def trust(self, token: torch.Tensor) -> torch.Tensor | None:
        """The share of residuals and mixing that a batch is given, by its token (width,): scalar."""
        if self.trust_head is None:
            return None
        return torch.sigmoid(self.trust_head(token)[0] + TRUST - self.caution)

    def layer_residuals(self, evidence: Evidence, tokens: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        """Of γ and β, (ΣC, 2), from the layers' evidence and the transformer's tokens (L, width)."""
        maps = RESIDUAL_SCALE * self.channel_map(tokens).unflatten(1, (2, -1))  # (L, 2, F)
        along = (per_channel(maps, owner) * evidence.items[:, None]).sum(dim=2)  # (ΣC, 2)
        moved: torch.Tensor = along + self.channel_head(evidence.states, tokens, owner)
        return moved

    def class_residuals(
        self, evidence: ClassEvidence, tokens: torch.Tensor, batch: torch.Tensor, observed: Observed
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Of W (K, D) and b (K,), from the classes' evidence and the transformer's tokens, (K, width) of the classes
        and (width,) of the batch."""
        weight: list[torch.Tensor] = []
        for rows, part in evidence.parts():
            maps = RESIDUAL_SCALE * self.entry_map(tokens[rows])  # (k, F)
            along = (maps[:, None] * part.items).sum(dim=2)  # (k, D)
            weight.append(along + self.entry_head(part.states, tokens[rows, None])[..., 0])
        bias = RESIDUAL_SCALE * self.bias_head(tokens)[:, 0]
        if self.share_head is not None:
            assert observed.logits is not None
            follows = self.share_head(batch)
            together = log_shares(observed.logits, None)
            own = together if observed.own is None else log_shares(observed.logits, observed.own)
            bias = bias + follows[0] * own + follows[1] * together
        return torch.cat(weight), bias


class _ChannelStep:
    """The generation of one batch: what its layers have shown is remembered as keys and values of the attention."""

    def __init__(self, generator: ChannelGenerator, source: Parameters, batch_size: int) -> None:
        self.generator = generator
        self.source = source
        self.source_evidence = generator.source_evidence(source, batch_size)
        self.attention = GroupAttention(generator.transformer)

    def __call__(self, observed: Observed) -> Residuals:
        generator, count = self.generator, len(observed.layers)
        tokens: list[torch.Tensor] = []
        if count:
            source_evidence = self.source_evidence.part(observed.layers)
            layers = generator.layer_evidence(source_evidence, _shifts(observed), _of_layers(observed.gradients))
            tokens.append(layers.tokens)
        if observed.logits is not None:
            classes = generator.class_evidence(self.source, observed)
            tokens += [generator.batch_evidence(observed), classes.tokens()]
        read = generator.norm(self.attention(torch.cat(tokens) if len(tokens) > 1 else tokens[0]))
        gammas: tuple[torch.Tensor, ...] = ()
        betas: tuple[torch.Tensor, ...] = ()
        mix = read.new_empty(0)
        if count:
            mix = generator.mix_head(read[:count])[:, 0]
            moved = generator.layer_residuals(layers, read[:count], source_evidence.owner)  # (ΣC, 2)
            both = moved.unbind(dim=1)
            gammas, betas = ((part,) if count == 1 else torch.split(part, list(source_evidence.sizes)) for part in both)
        weight: torch.Tensor | None = None
        bias: torch.Tensor | None = None
        trust: torch.Tensor | None = None
        if observed.logits is not None:
            if generator.scope.classifier:
                weight, bias = generator.class_residuals(classes, read[count + 1 :], read[count], observed)
            if not observed.last:  # in a single pass the layers are done before the classes are shown
                trust = generator.trust(read[count])
        return Residuals(gammas, betas, mix, weight, bias, trust)


def log_shares(logits: torch.Tensor, own: int | None) -> torch.Tensor:
    """The logarithm of the classes' shares, (K,), by logits (B, K) of the last `own` images, or of all; mean zero."""
    shares = (logits if own is None else logits[-own:]).softmax(dim=1).mean(dim=0)
    logs = (shares * len(shares) + 1e-3).log()
    return logs - logs.mean()


def _shifts(observed: Observed) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all channels of the layers, (ΣC,) both."""
    if len(observed.layers) == 1:
        return statistic_shift(observed.source[0], observed.batch[0])
    source, batch = (
        (torch.cat([mean for mean, _ in both]), torch.cat([variance for _, variance in both]))
        for both in (observed.source, observed.batch)
    )
    return statistic_shift(source, batch)


def _of_layers(gradients: GradientFeatures | None) -> tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]] | None:
    return None if gradients is None else (gradients.gammas, gradients.betas)


class _Head(nn.Module):
    """A shared two-layer head over an item's own state and its token: zero output while untrained."""

    def __init__(self, item_width: int, token_width: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        # two projections that are added: the token's part is computed once per layer or class, not per item
        self.from_item = nn.Linear(item_width, token_width)
        self.from_token = nn.Linear(token_width, token_width, bias=False)
        self.output = zero_start(nn.Linear(token_width, outputs, bias=bias))

    def forward(self, items: torch.Tensor, tokens: torch.Tensor, owner: torch.Tensor | None = None) -> torch.Tensor:
        """items (..., item_width), tokens broadcastable to (..., token_width) -> (..., outputs).

        With `owner` (ΣC,), items (ΣC, item_width) take the token of their owner.
        """
        of_tokens = self.from_token(tokens)
        hidden = nn.functional.gelu(
            self.from_item(items) + (of_tokens if owner is None else per_channel(of_tokens, owner))
        )
        moved: torch.Tensor = RESIDUAL_SCALE * self.output(hidden)
        return moved


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs), nn.GELU())


def _log_size(batch_size: int, like: torch.Tensor) -> torch.Tensor:
    """0 for one image, 1 for 256: a scalar."""
    return torch.scalar_tensor(batch_size, dtype=like.dtype, device=like.device).log2() / 8.0
