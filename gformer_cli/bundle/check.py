"""Whether a bundle's tensors are those that its header promises, found out before memory is taken for them.

A header is a claim: a width, a depth or a number of classes in it is not believed until the file has tensors of the
shapes that follow.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gformer_cli.errors import InputError
from gformer_cli.weights.torch_files import unusable

HEADER_LIMIT = 16 << 20
"""Bytes. The header of a thousand tensors and a thousand classes in fifty domains is a tenth of it."""
CONSTANT_NAMES = ("constant", "control")
"""What the part with the constant generator is called; the second in older files."""
_DTYPES = {torch.float32: "F32", torch.int64: "I64"}
"""As safetensors calls what networks here are made of."""


@dataclass(frozen=True)
class Wanted:
    """What a file is to be: the words for one that is not."""

    name: str
    hint: str
    """What to give in the place of another file."""
    again: str
    """What to do about a damaged one; `{command}` is the command that wrote it."""


BUNDLE = Wanted("bundle", "Give the .gformer file that gformer wrote.", "Write it again with gformer {command}.")
GENERATOR = Wanted(
    "generator file",
    "Give a generator file or a bundle that gformer meta-train wrote, or universal, which comes with gformer.",
    "Get it again, or write it again with gformer {command}; universal comes with gformer: install that again.",
)


@dataclass(frozen=True)
class Stored:
    """What a file says of one tensor."""

    shape: tuple[int, ...]
    dtype: str


def damaged(path: Path, what: object, command: str = "meta-train", wanted: Wanted = BUNDLE) -> InputError:
    """The error for a file that is what is `wanted` and not a whole one; `command` wrote it."""
    return InputError(
        f"damaged {wanted.name} {path}: {textwrap.shorten(str(what), 200)}", wanted.again.format(command=command)
    )


def stored_tensors(file: Any) -> dict[str, Stored]:
    """Shape and type of every tensor of an opened safetensors file, by name; no tensor is read."""
    stored: dict[str, Stored] = {}
    for name in file.keys():  # noqa: SIM118 - not a dict
        part = file.get_slice(name)
        stored[name] = Stored(tuple(part.get_shape()), part.get_dtype())
    return stored


def check_part(
    path: Path,
    stored: Mapping[str, Stored],
    part: str,
    state: Mapping[str, torch.Tensor],
    wanted: Wanted = BUNDLE,
) -> None:
    """Raises `InputError` unless the tensors `PART.*` of the file are those of the state dict `state`."""
    tensors = {name.removeprefix(f"{part}."): item for name, item in stored.items() if name.startswith(f"{part}.")}
    for name, tensor in state.items():
        if name not in tensors:
            raise damaged(path, f"{part}.{name} is missing", wanted=wanted)
        if tensors[name].shape != tuple(tensor.shape):
            found, said = list(tensors[name].shape), list(tensor.shape)
            raise damaged(path, f"{part}.{name} has shape {found}, its header says {said}", wanted=wanted)
        if tensors[name].dtype != _DTYPES.get(tensor.dtype, tensors[name].dtype):
            kinds = f"{tensors[name].dtype}, not {_DTYPES[tensor.dtype]}"
            raise damaged(path, f"{part}.{name} holds {kinds}", wanted=wanted)
    for name in tensors:
        if name not in state:
            raise damaged(path, f"{part}.{name} belongs to nothing in its header", wanted=wanted)


def check_classes(path: Path, stored: Mapping[str, Stored], classes: int) -> None:
    """Raises `InputError` unless some tensor of the network has so many rows: the classifier's weights."""
    if not any(item.shape[:1] == (classes,) for name, item in stored.items() if name.startswith("backbone.")):
        raise damaged(path, f"its header has {classes} classes, and no tensor has as many rows")


def check_values(path: Path, name: str, tensor: torch.Tensor, wanted: Wanted = BUNDLE) -> None:
    """Raises `InputError` for values that make every prediction not a number."""
    broken = unusable({name: tensor})
    if broken is not None:
        raise damaged(path, broken, wanted=wanted)
