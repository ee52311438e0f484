"""A few images of validation episodes, and what the source model and the generator say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gformer_cli.train.episodes import EpisodeWork


@dataclass(frozen=True)
class Example:
    """One image with its class, and the answers to it."""

    pixels: torch.Tensor
    """uint8 (3, S, S), as the network saw it."""
    label: str
    source: str
    """What the source model says."""
    adapted: str
    """What the generated model says."""


@torch.no_grad()
def examples_of(work: EpisodeWork, classes: Sequence[str], count: int) -> list[Example]:
    """At most `count` images, each of another validation episode; one whose answer changed, where there is one."""
    found = []
    for episode in work.validation[:: max(1, len(work.validation) // max(1, count))][:count]:
        backbone, images = work.backbone_of(episode), episode.inputs(work.device)
        with work.pace.step(len(images)):
            before = backbone(images).argmax(dim=1)
            after = work.model(backbone, images).logits.argmax(dim=1)
        row = int((before != after).int().argmax())
        answers = (classes[int(one[row])] for one in (episode.labels(work.device), before, after))
        found.append(Example(episode.domain.preprocessing.pixels(images[row]), *answers))
    return found
