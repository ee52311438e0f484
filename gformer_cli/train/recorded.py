"""The images that a layer's statistics are recorded on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from gformer_cli.data.labelled import LabelledDomain

RECORDED = 1024
"""Images of each domain, evenly spaced over it, that are enough to know a layer's statistics by."""


def plain_batches(domains: Sequence[LabelledDomain], size: int, device: torch.device) -> Iterator[torch.Tensor]:
    """Training images of `domains` as they are, as the network's input (at most `size`, 3, S, S)."""
    for domain in domains:
        chosen = domain.train[:: spacing(len(domain.train))]
        for start in range(0, len(chosen), size):
            yield domain.preprocessing.network_input(domain.pixels(chosen[start : start + size]), device)


def spacing(count: int) -> int:
    """Of `count` images every so many-th is recorded."""
    return max(1, -(-count // RECORDED))
