"""A generator out of another network's bundle.

The heads of a channel generator act on channels, its tokens stand for layers and classes: its weights depend on no
network. So one that was trained on other networks and tasks can generate for this one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError

from gformer_cli.bundle.build import build_generator
from gformer_cli.bundle.check import check_part, check_values, damaged, stored_tensors
from gformer_cli.bundle.header import open_file, parse_header
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generators import Generator
from gformer_cli.errors import InputError
from gformer_cli.networks.build import OnMeta
from gformer_cli.settings import GeneratorSettings


def read_generator(path: Path, backbone: Backbone) -> tuple[GeneratorSettings, Generator]:
    """The generator of the bundle `path`, to generate for `backbone`, and its settings.

    Raises `InputError` for a file that is no bundle, and for a generator that fits its own network alone: one of
    another kind than `channel`, or on a constant one.
    """
    file = open_file(path)
    header = parse_header(path, file.metadata())
    settings = header.generator.settings
    if header.static is not None:
        raise InputError(f"{path} is a static bundle, which holds no generator", "Give the bundle it was made from.")
    if settings.kind != "channel" or settings.on_constant:
        what = "is on top of a constant one" if settings.kind == "channel" else f"is of the kind {settings.kind}"
        raise InputError(
            f"the generator of {path} {what}, so it fits its own network alone",
            "Give a bundle that was meta-trained with generator.kind=channel and generator.on_constant=false.",
        )
    try:
        stored = stored_tensors(file)
        with OnMeta():
            check_part(path, stored, "generator", build_generator(settings, backbone).state_dict())
        state: dict[str, torch.Tensor] = {}
        for key in stored:
            part, _, name = key.partition(".")
            if part == "generator":
                state[name] = file.get_tensor(key)
                check_values(path, key, state[name])
        generator = build_generator(settings, backbone)
        generator.load_state_dict(state)
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        raise damaged(path, error) from None
    return settings, generator
