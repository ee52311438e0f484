"""The generator that a model gets without any training of its own: one from elsewhere, or an untrained one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch

from gformer_cli.bundle import (
    UNIVERSAL,
    Lineage,
    build_generator,
    file_hash,
    generator_path,
    read_generator,
)
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import Generator
from gformer_cli.seeding import derive_seed
from gformer_cli.settings import Settings

NONE = "none"
"""The name of an untrained generator, which predicts as `bn-mix` does."""
_UNMIXED = 1e9
"""`prior_count` beside which no batch counts: what was not recorded must not be mixed with."""


@dataclass(frozen=True)
class Chosen:
    """A generator for a network, and where it is from."""

    name: str
    """`universal`, `none`, or its file."""
    settings: Settings
    """With the generator's own."""
    generator: Generator
    lineage: Lineage

    @property
    def trained(self) -> bool:
        return self.name != NONE


def choose_generator(backbone: Backbone, settings: Settings, name: str | None, *, recorded: bool) -> Chosen:
    """The generator called `name` (a file, `universal` or `none`), to generate for `backbone`.

    Without a `name` it is `universal`, but where layers keep no statistics of the source and none were or will be
    `recorded`: then it is `none`, since a generator reads how far a batch lies from these. Whichever it is there, the
    batch's statistics are not mixed in, so that an untrained generator predicts as the source model does.

    Raises `InputError` for a generator that fits its own network alone.
    """
    blind = bool(unrecorded(backbone)) and not recorded
    name = name or (NONE if blind else UNIVERSAL)
    if name == NONE:
        described = settings.generator
    else:
        described, generator = read_generator(name, backbone)
    if blind:
        described = described.model_copy(update={"prior_count": _UNMIXED})
    lineage = Lineage(stage="import")
    if name == NONE:
        torch.manual_seed(derive_seed(settings.seed, "generator"))
        generator = build_generator(described, backbone)
    else:
        path = generator_path(name)
        lineage = Lineage(stage="import", parent=file_hash(path), parent_name=path.name)
    return Chosen(name, settings.model_copy(update={"generator": described}), generator, lineage)


def unrecorded(backbone: Backbone) -> dict[str, int]:
    """How many layers of each family normalise each image by itself and have seen no source image to go by."""
    return dict(
        Counter(layer.family for layer in backbone.layers if not layer.of_batch and not layer.running_mean.any())
    )
