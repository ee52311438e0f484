"""A file of weights: its tensors, whichever way a training script has wrapped them, and what it says of the classes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from gformer_cli.errors import InputError, did_you_mean
from gformer_cli.weights.class_names import class_names_in
from gformer_cli.weights.inert import HostileFile, Inert, Stored, opened
from gformer_cli.weights.kinds import AGAIN, SAVE, foreign_kind, is_safetensors
from gformer_cli.weights.torch_files import RefusedFile

_KNOWN = ("state_dict", "model_state_dict", "model", "model_dict", "net", "network", "params", "weights", "module")
"""Where training scripts put the weights; the first of these that is there is taken."""
_DEEPEST = 4
"""How many wrappers are opened."""
_NOT_WEIGHTS = re.compile(r"optim|sched|scaler|rng|callback|loops|message_hub", re.IGNORECASE)
_AVERAGE = re.compile(r"(^|[._])(ema|swa|averaged?)([._]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class WeightsFile:
    """What `read_weights` found."""

    tensors: dict[str, torch.Tensor]
    """By the names that the file gives them."""
    entry: str | None
    """Where in the file they are, such as `state_dict` or `model.ema`; None: at its top."""
    others: tuple[str, ...]
    """Entries that hold other weights, such as a moving average."""
    classes: list[str] | None
    """Class names in the order of the head, where the file has them."""
    sha256: str
    """Of the whole file."""


_Tensors = dict[str, Any]
"""By name a `Stored`, or a tensor; an `Inert` for one of a kind that is not read."""


def is_average(name: str) -> bool:
    """Whether an entry or a prefix is that of averaged weights, such as `state_dict_ema` or `ema_model.`"""
    return _AVERAGE.search(name) is not None


def read_weights(path: Path, *, entry: str | None = None) -> WeightsFile:
    """The weights in a file of safetensors or `torch.save`; nothing in it is run.

    Wrappers are found by looking: of all mappings that hold a matrix, the one under a usual name is taken, plain
    weights before averaged ones; an optimizer's are never. `entry`, a dotted path such as `model.ema`, takes another,
    and may end in a prefix of the tensors' names. Values beside the tensors are left aside.

    Raises `InputError` for a file of another kind, a damaged one, a whole pickled model, an `entry` that is not there,
    and for several sets of weights where none of them is the usual one.
    """
    if path.is_dir():
        raise InputError(f"no such weights file: {path} is a folder", "Give the file in it. gformer import has --from.")
    if not path.is_file():
        raise InputError(f"no such weights file: {path}", "Check the path. default is what the library publishes.")
    kind = foreign_kind(path)
    if kind is not None:
        raise InputError(f"cannot read weights {path}: it is {kind[0]}", kind[1])
    try:
        if is_safetensors(path):
            chosen, tensors, others = _choose({"": load_file(path)}, path, entry)
            classes = None
        else:
            with opened(path) as content:
                chosen, stored, others = _choose(_sets_of_weights(content, path), path, entry)
                tensors = {name: _read(value, name, path) for name, value in stored.items()}
                classes = class_names_in(content)
    except InputError:
        raise
    except HostileFile as error:
        raise InputError(
            f"weights {path} are not safe: {error}. Nothing of it was run",
            "Do not use this file unless you know why it does so.",
        ) from None
    except Exception as error:  # a damaged file makes nearly any kind
        why = str(error) if isinstance(error, RefusedFile) else "it is damaged or cut short"
        raise InputError(f"cannot read weights {path}: {why}", f"{AGAIN} Or: {SAVE}") from None
    for name, tensor in tensors.items():
        if not _is_plain(tensor):
            raise _no_tensor(path, name, f"{tensor.dtype}, {tensor.layout}")
    return WeightsFile(tensors, chosen or None, others, classes, sha256_of(path))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sets_of_weights(content: Any, path: Path) -> dict[str, _Tensors]:
    """By their dotted paths all mappings in `content` that hold a matrix, which every network has."""
    found = dict(_mappings(content, "", 0, set()))
    if found:
        return found
    suspects = [content]
    if isinstance(content, Mapping):
        suspects += [content[key] for key in _KNOWN if key in content] + list(content.values())
    pickled = [value.origin for value in suspects if isinstance(value, Inert) and not value]
    if pickled:
        raise InputError(
            f"{path} holds no state dict, but a pickled object of {pickled[0]}",
            f"It is not unpickled, since that would run code. {SAVE}",
        )
    raise InputError(f"{path} holds no state dict", SAVE)


def _mappings(value: Any, place: str, depth: int, seen: set[int]) -> Iterator[tuple[str, _Tensors]]:
    if not isinstance(value, Mapping) or depth > _DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    tensors = {str(name): inner for name, inner in value.items() if _is_tensor(inner)}
    if any(isinstance(tensor, Inert) or tensor.dim() >= 2 for tensor in tensors.values()):
        yield place, tensors
    for key, inner in value.items():
        if isinstance(key, str) and not _NOT_WEIGHTS.search(key):
            yield from _mappings(inner, f"{place}.{key}".lstrip("."), depth + 1, seen)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Stored) or (isinstance(value, Inert) and "_rebuild_" in value.origin)


def _choose(sets: Mapping[str, _Tensors], path: Path, entry: str | None) -> tuple[str, _Tensors, tuple[str, ...]]:
    """The path of the set that is meant, its tensors, and the paths of the others."""
    averages = {
        f"{place}.{prefix}".lstrip("."): _below(tensors, prefix)
        for place, tensors in sets.items()
        for prefix in dict.fromkeys(name.partition(".")[0] for name in tensors)
        if is_average(prefix)
    }
    offered = {**sets, **{place: tensors for place, tensors in averages.items() if len(tensors) > 1}}
    if entry is not None:
        return entry, _at(offered, path, entry), tuple(place for place in offered if place and place != entry)
    best, *rest = sorted(sets, key=_rank)
    if rest and _rank(best) == _rank(rest[0]):
        alike = [place for place in sets if _rank(place) == _rank(best)]
        raise InputError(
            f"{path} holds several sets of weights: {', '.join(alike)}",
            f"Save the one that is meant alone, or name it: gformer import --weights-key {best}",
        )
    return best, sets[best], tuple(place for place in offered if place and place != best)


def _rank(place: str) -> tuple[bool, int]:
    """The lower, the likelier it is the one that is meant."""
    known = [_KNOWN.index(part) for part in place.split(".") if part in _KNOWN]
    return is_average(place), min(known, default=len(_KNOWN) + (place != ""))


def _at(offered: Mapping[str, _Tensors], path: Path, entry: str) -> _Tensors:
    if entry in offered:
        return offered[entry]
    for place, tensors in offered.items():
        if not place or entry.startswith(f"{place}."):
            below = _below(tensors, entry.removeprefix(place).lstrip("."))
            if below:
                return below
    names = [place for place in offered if place]
    raise InputError(
        f"{path} has no weights under {entry!r}",
        did_you_mean(entry, names) if names else "Its tensors are at the top: leave out --weights-key.",
    )


def _below(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _read(value: Any, name: str, path: Path) -> torch.Tensor:
    if isinstance(value, Stored):
        return value.tensor()
    raise _no_tensor(path, name, value.origin)


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether another can be filled with it: one without storage would leave that as it was."""
    return tensor.layout is torch.strided and not (tensor.is_meta or tensor.is_quantized or tensor.is_complex())


def _no_tensor(path: Path, name: str, kind: str) -> InputError:
    return InputError(f"{path}: {name} is no plain tensor ({kind})", f"Convert it to a dense float tensor. {SAVE}")
