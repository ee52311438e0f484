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

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generators.base import (
    POSITIONS,
    RESIDUAL_SCALE,
    Generator,
    Passed,
    Reads,
    Residuals,
    Scope,
    encoder,
    positions,
    zero_start,
)
from gformer_cli.core.generators.constant import ConstantGenerator
from gformer_cli.core.generators.evidence import (
    ClassEvidence,
    Evidence,
    SourceEvidence,
    mean_by_owner,
    per_channel,
    pool_by_owner,
)
from gformer_cli.core.generators.single_pass import SinglePass
from gformer_cli.core.gradients import GradientFeatures
from gformer_cli.core.losses import entropy, marginal_entropy, rms
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.probe import Probe, statistic_shifts

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
        constant: what is generated comes on top of these learned residuals, and fits only networks of their shape.
    """

    reads_context = True

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
        constant: ConstantGenerator | None = None,
    ) -> None:
        super().__init__(scope)
        self.constant = constant
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
        self.class_token = nn.Linear(2 * channel_width + 3 + reads.gradients, width)
        self.batch_token = nn.Linear(4, width)
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

    def residuals(self, probe: Probe) -> Residuals:
        source = probe.source
        count = len(source.gammas)
        known = self.source_evidence(source, len(probe.logits))
        means, spreads = statistic_shifts(probe)
        gradients = None if probe.gradients is None else (probe.gradients.gammas, probe.gradients.betas)
        layers = self.layer_evidence(known, (torch.cat(means), torch.cat(spreads)), gradients)
        classes = self.class_evidence(source, probe.logits, probe.features, probe.gradients)
        tokens = torch.cat([layers.tokens, classes.tokens(), self.batch_evidence(probe.logits)])  # (L + K + 1, width)
        tokens = self.norm(self.transformer(tokens[None])[0])
        sizes = [len(gamma) for gamma in source.gammas]
        moved = torch.split(self.layer_residuals(layers, tokens[:count], known.owner), sizes)  # L of (C_l, 2)
        weight, bias = self.class_residuals(classes, tokens[count:-1])
        generated = Residuals(
            gammas=tuple(part[:, 0] for part in moved),
            betas=tuple(part[:, 1] for part in moved),
            mix=self.mix_head(tokens[:count])[:, 0],
            weight=weight,
            bias=bias,
        )
        return generated if self.constant is None else generated.plus(self.constant.learned())

    def single_pass(
        self, backbone: Backbone, images: torch.Tensor, prior_count: float, context: Context | None
    ) -> Passed:
        return SinglePass(self, backbone, images, prior_count=prior_count, context=context).run()

    def source_evidence(self, source: Parameters, batch_size: int) -> SourceEvidence:
        """What is known of all layers before a batch of `batch_size` images has shown anything."""
        sizes = torch.tensor([len(gamma) for gamma in source.gammas])
        count = len(sizes)
        gammas, betas = torch.cat(source.gammas).detach(), torch.cat(source.betas).detach()
        owner = torch.repeat_interleave(torch.arange(count), sizes).to(gammas.device)
        both = mean_by_owner(torch.stack([gammas, betas], dim=1).square(), owner, count).sqrt().clamp_min(1e-6)
        unit, spread = both.unbind(dim=1)  # (L,) both
        relative = (spread / unit)[:, None]
        # how many values a channel's statistics rest on is unknown here; how many images is what matters
        size = torch.full_like(relative, _log_size(batch_size))
        return SourceEvidence(
            channels=torch.stack([gammas, betas], dim=1) / unit[owner, None],
            layers=torch.cat([positions(count, gammas.device), relative, size], dim=1),
            units=unit,
            owner=owner,
        )

    def layer_evidence(
        self,
        source: SourceEvidence,
        shifts: tuple[torch.Tensor, torch.Tensor],
        gradients: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]] | None,
    ) -> Evidence:
        """What is known of some layers: `source`, statistic shifts (ΣC,) and gradients, sequences of (C_l,)."""
        owner, count = source.owner, len(source.units)
        channel, layer = [source.channels], [source.layers]
        if self.reads.statistics:
            moved = torch.stack(shifts, dim=1)
            channel.append(moved)
            layer.append(mean_by_owner(moved.abs(), owner, count))
        if self.reads.gradients:
            assert gradients is not None
            for part in gradients:
                scale = torch.stack([rms(gradient) for gradient in part])
                # by how many nats the loss changes when the layer moves by its own size along the gradient
                slope = scale * source.units * torch.bincount(owner).sqrt()
                channel.append((torch.cat(list(part)) * (slope / (slope + _QUIET) / scale)[owner])[:, None])
                layer.append(torch.asinh(100.0 * scale * source.units)[:, None])
        items = torch.cat(channel, dim=1)
        states = self.channel_input(items)  # (ΣC, h)
        pooled = pool_by_owner(states, owner, count)  # (L, 2h)
        return Evidence(items, states, self.layer_token(torch.cat([pooled, *layer], dim=1)))

    def class_evidence(
        self,
        source: Parameters,
        logits: torch.Tensor,
        features: torch.Tensor,
        gradients: GradientFeatures | None,
    ) -> ClassEvidence:
        """What is known of the classes from logits (B, K) and features (B, D)."""
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
        known = torch.stack(per_class, dim=1)

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
            return Evidence(items, states, self.class_token(torch.cat([pooled, known[rows]], dim=1)))

        return ClassEvidence(of, *source.weight.shape)

    def batch_evidence(self, logits: torch.Tensor) -> torch.Tensor:
        """The batch's token (1, width): size, entropies as shares of their maximum, confidence."""
        most = math.log(max(logits.shape[1], 2))
        evidence = torch.stack(
            [
                logits.new_tensor(_log_size(len(logits))),
                entropy(logits) / most,
                marginal_entropy(logits) / most,
                logits.softmax(dim=1).max(dim=1).values.mean(),
            ]
        )
        token: torch.Tensor = self.batch_token(evidence)[None]
        return token

    def layer_residuals(self, evidence: Evidence, tokens: torch.Tensor, owner: torch.Tensor) -> torch.Tensor:
        """Of γ and β, (ΣC, 2), from the layers' evidence and the transformer's tokens (L, width)."""
        maps = RESIDUAL_SCALE * self.channel_map(tokens).unflatten(1, (2, -1))  # (L, 2, F)
        along = (per_channel(maps, owner) * evidence.items[:, None]).sum(dim=2)  # (ΣC, 2)
        moved: torch.Tensor = along + self.channel_head(evidence.states, tokens, owner)
        return moved

    def class_residuals(self, evidence: ClassEvidence, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of W (K, D) and b (K,), from the classes' evidence and the transformer's tokens (K, width)."""
        weight: list[torch.Tensor] = []
        for rows, part in evidence.parts():
            maps = RESIDUAL_SCALE * self.entry_map(tokens[rows])  # (k, F)
            along = (maps[:, None] * part.items).sum(dim=2)  # (k, D)
            weight.append(along + self.entry_head(part.states, tokens[rows, None])[..., 0])
        return torch.cat(weight), RESIDUAL_SCALE * self.bias_head(tokens)[:, 0]


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
        told = self.from_token(tokens)
        hidden = nn.functional.gelu(self.from_item(items) + (told if owner is None else per_channel(told, owner)))
        moved: torch.Tensor = RESIDUAL_SCALE * self.output(hidden)
        return moved


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs), nn.GELU())


def _log_size(batch_size: int) -> float:
    return math.log2(batch_size) / 8.0  # 0 for one image, 1 for 256
