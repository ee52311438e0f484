"""The generator that meta-training goes on from."""

from __future__ import annotations

import torch

from gformer_cli.bundle import build_generator, read_generator
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import Generator
from gformer_cli.errors import InputError
from gformer_cli.settings import GeneratorSettings

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
            "Leave settings of the generator out, so that those of the start are taken, or start from another.",
        )
    return generator


def _shapes(generator: Generator) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in generator.state_dict().items()}
