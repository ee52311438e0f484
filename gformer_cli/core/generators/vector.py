"""The `vector` generator, as the paper has it: one token per generated vector, zero-padded to the widest."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators.base import (
    RESIDUAL_SCALE,
    Generator,
    Observed,
    Reads,
    Residuals,
    Scope,
    Step,
    encoder,
    zero_start,
)
from gformer_cli.core.losses import rms
from gformer_cli.core.parameters import Parameters
from gformer_cli.core.statistics import statistic_shift


class VectorGenerator(Generator):
    """Tokens of γ_l, β_l and each row of W under a transformer encoder (GeneralizeFormer, section 3).

    A token is the vector's source value, its gradient feature and the batch's mean feature, each zero-padded to
    P, the widest of all vectors; with `reads.statistics` (ours) also the statistic shift of its layer: of the
    standard deviation for γ, of the mean for β. The released code has width 512, 8 layers, 2 heads and a
    feed-forward width of 512.

    Args:
        shape_of: gives depth, widths and class count; unlike `ChannelGenerator`, it fits only this shape.
        width: token width of the transformer.
        depth: transformer layers.
        heads: attention heads; divides `width`.
        feed_forward: hidden width inside the transformer's layers.
        reads: the ingredients that the tokens are made of.
        scope: the parameters that are generated.
    """

    def __init__(
        self,
        shape_of: Backbone,
        *,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        feed_forward: int = 128,
        reads: Reads | None = None,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(scope)
        self.reads = reads = reads or Reads()
        self.reads_gradients = reads.gradients
        source = shape_of.source_parameters()
        vectors = [*source.gammas, *source.betas, *source.weight]
        self.padded = max(len(vector) for vector in vectors)
        parts = 1 + reads.gradients + reads.features + reads.statistics
        self.input = nn.Linear(parts * self.padded, width)
        self.place = nn.Parameter(0.02 * torch.randn(len(vectors), width))
        self.transformer = encoder(width, depth, heads, feed_forward)
        self.norm = nn.LayerNorm(width)
        self.output = zero_start(nn.Linear(width, self.padded))
        self.mix_head = zero_start(nn.Linear(width, 1))
        self.bias_head = zero_start(nn.Linear(width, 1, bias=False))  # a bias would move all classes alike

    def begin(self, source: Parameters, batch_size: int) -> Step:
        def step(observed: Observed) -> Residuals:
            return self._of_all(source, observed)

        return step

    def _of_all(self, source: Parameters, observed: Observed) -> Residuals:
        layers, (classes, features) = len(source.gammas), source.weight.shape
        if len(observed.layers) != layers or observed.logits is None:
            raise ValueError("the vector generator must be shown everything at once")
        tokens = self.input(self._evidence(source, observed)) + self.place  # (2L + K, width)
        tokens = self.norm(self.transformer(tokens[None])[0])
        moved = RESIDUAL_SCALE * self.output(tokens)  # (2L + K, P)
        sizes = [len(gamma) for gamma in source.gammas]
        return Residuals(
            gammas=tuple(moved[index, :size] for index, size in enumerate(sizes)),
            betas=tuple(moved[layers + index, :size] for index, size in enumerate(sizes)),
            mix=self.mix_head(tokens[:layers])[:, 0],
            weight=moved[2 * layers :, :features],
            bias=RESIDUAL_SCALE * self.bias_head(tokens[-classes:])[:, 0],
        )

    def _evidence(self, source: Parameters, observed: Observed) -> torch.Tensor:
        """(2L + K, parts * P)"""
        reads, rows = self.reads, len(source.weight)
        units = [rms(gamma) for gamma in source.gammas]
        parts = [
            [vector / unit for vector, unit in zip([*source.gammas, *source.betas], units * 2, strict=True)]
            + list(source.weight / rms(source.weight))
        ]
        if reads.gradients:
            assert observed.gradients is not None
            gradients = observed.gradients
            parts.append(
                [gradient / rms(gradient) for gradient in (*gradients.gammas, *gradients.betas)]
                + list(gradients.weight / rms(gradients.weight))
            )
        if reads.features:
            assert observed.features is not None
            parts.append([observed.features.mean(dim=0) / rms(observed.features)] * len(parts[0]))
        if reads.statistics:
            shifts = [statistic_shift(own, batch) for own, batch in zip(observed.source, observed.batch, strict=True)]
            moved, stretched = [shift[0] for shift in shifts], [shift[1] for shift in shifts]
            parts.append([*stretched, *moved] + [source.weight.new_zeros(1)] * rows)
        return torch.cat([torch.stack([self._pad(vector) for vector in part]) for part in parts], dim=1)

    def _pad(self, vector: torch.Tensor) -> torch.Tensor:
        return F.pad(vector, (0, self.padded - len(vector)))
