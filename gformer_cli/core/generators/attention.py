"""A transformer encoder that is fed group by group."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class GroupAttention:
    """A pre-norm transformer encoder fed group by group: tokens see their own group and all groups before.

    All tokens in one group are the encoder itself; several groups are the encoder under a causal mask. Keys and values
    of what came before are kept, not computed again.
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
            # (n, 3 width) -> three of (1, heads, n, width / heads)
            split = projected.view(1, len(tokens), 3, attention.num_heads, -1)
            query, key, value = split.permute(2, 0, 3, 1, 4).unbind()
            keys.append(key)
            values.append(value)
            read = F.scaled_dot_product_attention(query, torch.cat(keys, dim=2), torch.cat(values, dim=2))
            tokens = tokens + attention.out_proj(read[0].transpose(0, 1).flatten(1))
            tokens = tokens + block.linear2(block.activation(block.linear1(block.norm2(tokens))))
        return tokens
