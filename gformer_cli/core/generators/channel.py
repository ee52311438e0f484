"""The `channel` generator: tokens per layer and per class, heads that act per channel.

The paper's tokens are whole parameter vectors, zero-padded to the widest. Here a layer's token is pooled from
its channels by a shared network, the transformer works across layers and classes, and a shared head turns
each channel's own evidence and its layer's output into that channel's residuals. So nothing depends on
width, depth or class count, a permutation of channels or classes permutes the result, and one trained
generator serves any BatchNorm network.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from gformer_cli.core.generators.base import (
    RESIDUAL_SCALE,
    Generator,
    Reads,
    Residuals,
    Scope,
    encoder,
    zero_start,
)
from gformer_cli.core.losses import entropy, marginal_entropy, rms
from gformer_cli.core.probe import Probe, statistic_shifts

_POSITIONS = 8
"""Sine and cosine frequencies of a layer's relative depth."""
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
    """

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
    ) -> None:
        super().__init__(scope)
        self.reads = reads = reads or Reads()
        self.reads_gradients = reads.gradients
        # γ and β, the statistic shifts (mean, log-variance), the two gradients
        per_channel = 2 + 2 * reads.statistics + 2 * reads.gradients
        # W, the batch's mean feature and the class's own, the gradient
        per_entry = 1 + 2 * reads.features + reads.gradients
        self.channel_input = _mlp(per_channel, channel_width, channel_width)
        self.entry_input = _mlp(per_entry, channel_width, channel_width)
        per_layer = _POSITIONS + 2 + 2 * reads.statistics + 2 * reads.gradients
        self.layer_token = nn.Linear(2 * channel_width + per_layer, width)
        self.class_token = nn.Linear(2 * channel_width + 3 + reads.gradients, width)
        self.batch_token = nn.Linear(4, width)
        self.transformer = encoder(width, depth, heads, feed_forward)
        self.norm = nn.LayerNorm(width)
        self.channel_head = _Head(channel_width, width, 2)
        # no bias in the two class heads: what moves all classes alike moves no prediction
        self.entry_head = _Head(channel_width, width, 1, bias=False)
        # per layer and class also a linear map of the evidence, such as how far to step along the gradient
        self.channel_map = zero_start(nn.Linear(width, 2 * per_channel))
        self.entry_map = zero_start(nn.Linear(width, per_entry))
        self.mix_head = zero_start(nn.Linear(width, 1))
        self.bias_head = zero_start(nn.Linear(width, 1, bias=False))

    def residuals(self, probe: Probe) -> Residuals:
        sizes = [len(gamma) for gamma in probe.source.gammas]
        count = len(sizes)
        device = probe.logits.device
        # (ΣC,): the layer of each channel
        owner = torch.repeat_interleave(torch.arange(count, device=device), torch.tensor(sizes, device=device))
        channel_evidence, layer_evidence = self._layers(probe, owner)
        entry_evidence, class_evidence = self._classes(probe)
        channels = self.channel_input(channel_evidence)  # (ΣC, h)
        entries = self.entry_input(entry_evidence)  # (K, D, h)

        pooled = _pool_by_owner(channels, owner, sizes)  # (L, 2h)
        layer_tokens = self.layer_token(torch.cat([pooled, layer_evidence], dim=1))
        pooled = torch.cat([entries.mean(1), entries.square().mean(1).add(1e-6).sqrt()], dim=1)  # (K, 2h)
        class_tokens = self.class_token(torch.cat([pooled, class_evidence], dim=1))
        batch_token = self.batch_token(_batch_evidence(probe))[None]
        tokens = torch.cat([layer_tokens, class_tokens, batch_token])  # (L + K + 1, width)
        tokens = self.norm(self.transformer(tokens[None])[0])
        layers, classes = tokens[:count], tokens[count:-1]

        maps = RESIDUAL_SCALE * self.channel_map(layers).unflatten(1, (2, -1))  # (L, 2, F)
        along = (maps[owner] * channel_evidence[:, None]).sum(dim=2)  # (ΣC, 2)
        moved = (along + self.channel_head(channels, layers[owner])).split(sizes)  # L of (C_l, 2)
        entry_maps = RESIDUAL_SCALE * self.entry_map(classes)  # (K, F)
        entry_along = (entry_maps[:, None] * entry_evidence).sum(dim=2)  # (K, D)
        return Residuals(
            gammas=tuple(part[:, 0] for part in moved),
            betas=tuple(part[:, 1] for part in moved),
            mix=self.mix_head(layers)[:, 0],
            weight=entry_along + self.entry_head(entries, classes[:, None])[..., 0],
            bias=RESIDUAL_SCALE * self.bias_head(classes)[:, 0],
        )

    def _layers(self, probe: Probe, owner: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Evidence per channel (ΣC, 2 to 6) and per layer (L, _POSITIONS + 2 to 6)."""
        source = probe.source
        gamma_rms = torch.stack([rms(gamma) for gamma in source.gammas])
        beta_rms = torch.stack([rms(beta) for beta in source.betas])
        unit = gamma_rms[owner]
        channel = [torch.cat(source.gammas) / unit, torch.cat(source.betas) / unit]
        layer = [
            _positions(len(gamma_rms), owner.device),
            (beta_rms / gamma_rms)[:, None],
            # how many values a channel's statistics rest on is unknown here; how many images is what matters
            torch.full_like(gamma_rms, _log_size(probe))[:, None],
        ]
        if self.reads.statistics:
            shifts = [torch.cat(parts) for parts in statistic_shifts(probe)]
            channel += shifts
            layer.append(_mean_by_owner(torch.stack(shifts, dim=1).abs(), owner, len(gamma_rms)))
        if self.reads.gradients:
            assert probe.gradients is not None
            for part in (probe.gradients.gammas, probe.gradients.betas):
                scale = torch.stack([rms(gradient) for gradient in part])
                # by how many nats the loss changes when the layer moves by its own size along the gradient
                slope = scale * gamma_rms * torch.bincount(owner).sqrt()
                channel.append(torch.cat(part) * (slope / (slope + _QUIET) / scale)[owner])
                layer.append(torch.asinh(100.0 * scale * gamma_rms)[:, None])
        return torch.stack(channel, dim=1), torch.cat(layer, dim=1)

    def _classes(self, probe: Probe) -> tuple[torch.Tensor, torch.Tensor]:
        """Evidence per class-feature (K, D, 1 to 4) and per class (K, 3 or 4)."""
        source = probe.source
        probabilities = probe.logits.softmax(dim=1)  # (B, K)
        expected = probabilities.mean(dim=0)  # (K,): the batch's class marginal
        entry = [source.weight / rms(source.weight)]
        classes = len(expected)
        if self.reads.features:
            features = probe.features / rms(probe.features)
            mean = features.mean(dim=0)  # (D,)
            # the mean feature of each class under its own predictions; the batch's mean where there are none
            prototype = (probabilities.t() @ features + mean) / (probabilities.sum(dim=0) + 1.0)[:, None]
            entry += [mean.expand_as(source.weight), prototype - mean]
        per_class = [source.bias, (expected * classes + 1e-3).log(), (probabilities.max(dim=0).values)]
        if self.reads.gradients:
            assert probe.gradients is not None
            scale = rms(probe.gradients.weight)
            entry.append(probe.gradients.weight / scale)
            per_class.append(probe.gradients.bias * classes)
        return torch.stack(entry, dim=2), torch.stack(per_class, dim=1)


class _Head(nn.Module):
    """A shared two-layer head over an item's own state and its token: zero output while untrained."""

    def __init__(self, item_width: int, token_width: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        # two projections that are added: the token's part is computed once per layer or class, not per item
        self.from_item = nn.Linear(item_width, token_width)
        self.from_token = nn.Linear(token_width, token_width, bias=False)
        self.output = zero_start(nn.Linear(token_width, outputs, bias=bias))

    def forward(self, items: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """items (..., item_width), tokens broadcastable to (..., token_width) -> (..., outputs)."""
        hidden = nn.functional.gelu(self.from_item(items) + self.from_token(tokens))
        moved: torch.Tensor = RESIDUAL_SCALE * self.output(hidden)
        return moved


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs), nn.GELU())


def _log_size(probe: Probe) -> float:
    return math.log2(len(probe.logits)) / 8.0  # 0 for one image, 1 for 256


def _batch_evidence(probe: Probe) -> torch.Tensor:
    """(4,): size, mean entropy, entropy of the class marginal (both as shares of the maximum), confidence."""
    probabilities = probe.logits.softmax(dim=1)
    most = math.log(max(probabilities.shape[1], 2))
    return torch.stack(
        [
            probabilities.new_tensor(_log_size(probe)),
            entropy(probe.logits) / most,
            marginal_entropy(probe.logits) / most,
            probabilities.max(dim=1).values.mean(),
        ]
    )


def _positions(layers: int, device: torch.device) -> torch.Tensor:
    """Relative depth 0..1 of each layer in sines and cosines, (L, _POSITIONS)."""
    depth = torch.linspace(0.0, 1.0, layers, device=device)[:, None]
    angles = depth * math.pi * 2.0 ** torch.arange(_POSITIONS // 2, device=device)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def _mean_by_owner(values: torch.Tensor, owner: torch.Tensor, layers: int) -> torch.Tensor:
    """Mean over the channels of each layer: (ΣC, F) -> (L, F)."""
    total = values.new_zeros(layers, values.shape[1]).index_add(0, owner, values)
    means: torch.Tensor = total / torch.bincount(owner, minlength=layers)[:, None]
    return means


def _pool_by_owner(values: torch.Tensor, owner: torch.Tensor, sizes: list[int]) -> torch.Tensor:
    """Mean and root mean square over the channels of each layer: (ΣC, h) -> (L, 2h)."""
    both = _mean_by_owner(torch.cat([values, values.square()], dim=1), owner, len(sizes))
    mean, square = both.chunk(2, dim=1)
    return torch.cat([mean, square.add(1e-6).sqrt()], dim=1)
