"""The generator that meta-training goes on from."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gformer_cli.bundle import Lineage, build_generator, file_hash, generator_path, read_generator
from gformer_cli.bundle.transplant import generator_settings
from gformer_cli.config import resolve
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import Generator
from gformer_cli.errors import InputError
from gformer_cli.settings import GeneratorSettings, Settings

NO_START = "none"
"""What `meta_train.start` says where training begins with an untrained generator."""


def read_start(name: str, wanted: GeneratorSettings, backbone: Backbone) -> Generator:
    """The trained generator of `name`, a file or `universal`, for the training of a generator of `wanted`.

    Raises `InputError` where there is none, where it fits its own network alone, and where it is of other shapes.
    """
    settings, generator = read_generator(name, backbone)
    if _shapes(generator) != _shapes(build_generator(wanted, backbone)):
        there, here = settings.model_dump(), wanted.model_dump()
        other = [f"generator.{key}={value} (here {here[key]})" for key, value in there.items() if value != here[key]]
        raise InputError(
            f"the generator to start from, {name}, has other shapes than the settings ask for: {', '.join(other)}",
            "Leave settings of the generator out, so that those of the start are taken, or use --start none.",
        )
    return generator


def check_start(settings: Settings, backbone: Backbone) -> None:
    """Raises `InputError` as `read_start` does, where training does not begin with an untrained generator."""
    if settings.meta_train.start != NO_START:
        read_start(settings.meta_train.start, settings.generator, backbone)


def taking_its_settings(settings: Settings, assignments: Sequence[str]) -> Settings:
    """`settings` with the generator section of what training starts from, and on top what `--set` says of it."""
    start = settings.meta_train.start
    if start == NO_START:
        return settings
    base = settings.model_copy(update={"generator": generator_settings(start)})
    own = [text for text in assignments if text.partition("=")[0].strip().partition(".")[0] == "generator"]
    return resolve(base=base, assignments=own, flags={"backbone.name": settings.backbone.name})


def lineage_of(settings: Settings) -> Lineage:
    """How what is meta-trained with `settings` came to be."""
    start = settings.meta_train.start
    if start == NO_START:
        return Lineage(stage="meta-train")
    path = generator_path(start)
    return Lineage(stage="meta-train", parent=file_hash(path), parent_name=path.name)


def _shapes(generator: Generator) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in generator.state_dict().items()}
