"""A generator for another network than those it has learnt on, out of a file of its own or out of a bundle.

The heads of a channel generator act on channels, its tokens stand for layers and classes: its weights depend on no
network. So one that was trained on other networks and tasks can generate for this one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from gformer_cli.bundle.build import build_generator
from gformer_cli.bundle.card import parse_generator_header
from gformer_cli.bundle.check import BUNDLE, GENERATOR, check_part, check_values, damaged, stored_tensors
from gformer_cli.bundle.generator_file import fits_its_own_alone, generator_path
from gformer_cli.bundle.header import KEY, open_file, parse_header
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import Generator
from gformer_cli.errors import InputError
from gformer_cli.networks.build import OnMeta
from gformer_cli.settings import GeneratorSettings


def generator_settings(name: Path | str) -> GeneratorSettings:
    """The settings of the generator of `name`; no tensor is read. Raises `InputError` as `read_generator` does."""
    path = generator_path(name)
    metadata = open_file(path, GENERATOR).metadata()
    of_bundle = KEY in (metadata or {})
    settings = _of_bundle(path, metadata) if of_bundle else parse_generator_header(path, metadata).generator.settings
    why = fits_its_own_alone(settings)
    if why is not None:
        raise InputError(
            f"the generator of {path} {why}, so it fits its own network alone",
            "Give one that was meta-trained with generator.kind=channel and generator.on_constant=false.",
        )
    return settings


def read_generator(name: Path | str, backbone: Backbone) -> tuple[GeneratorSettings, Generator]:
    """The generator of `name`, to generate for `backbone`, and its settings.

    `name` is a generator file, a bundle, or `universal`, which comes with gformer. Raises `InputError` for any other
    file, and for a generator that fits its own network alone: one of another kind than `channel`, or on a constant one.
    """
    settings, path = generator_settings(name), generator_path(name)
    file = open_file(path, GENERATOR)
    of_bundle = KEY in (file.metadata() or {})
    wanted = BUNDLE if of_bundle else GENERATOR
    try:
        stored = stored_tensors(file)
        with OnMeta():
            check_part(path, stored, "generator", build_generator(settings, backbone).state_dict(), wanted)
        state: dict[str, torch.Tensor] = {}
        for key in stored:
            part, _, tensor = key.partition(".")
            if part == "generator":
                state[tensor] = file.get_tensor(key)
                check_values(path, key, state[tensor], wanted)
            elif not of_bundle:
                raise damaged(path, f"{key} belongs to nothing in its header", wanted=wanted)
        generator = build_generator(settings, backbone)
        generator.load_state_dict(state)
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(path, error, wanted=wanted) from None
    return settings, generator


def _of_bundle(path: Path, metadata: Any) -> GeneratorSettings:
    header = parse_header(path, metadata)
    if header.static is not None:
        raise InputError(f"{path} is a static bundle, which holds no generator", "Give the bundle it was made from.")
    return header.generator.settings
