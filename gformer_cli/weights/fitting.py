"""Put a file's tensors into a network strictly: all of them, or an error that says what does not fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from gformer_cli.errors import InputError
from gformer_cli.networks.head import find_head
from gformer_cli.weights.file import WeightsFile
from gformer_cli.weights.matching import Match, State, counts_batches, is_needless, match
from gformer_cli.weights.torch_files import unusable

_OTHER_BACKBONE = "Name the backbone (stem, width, image size) that they were saved from."


def fill(
    network: nn.Module, file: WeightsFile, *, origin: str, head: str | None = None, image_size: int | None = None
) -> tuple[str, ...]:
    """Put the tensors of `file` into `network`, as it is built, in place; messages call the file `origin`.

    Names are matched by `match`. Every tensor of the network must come from the file, in its shape, the head
    included; batch counters alone may lack. The numbers are the file's to the bit, but for types that the network does
    not have: float16 becomes its float32.

    Every tensor of the file must be used. Left over may be copies of tensors that are used, and what no prediction
    needs, which is returned: averaged weights (`ema_model.`), and names with a part such as `criterion`, `optimizer`,
    `discriminator`, `aux1` or `n_averaged`.

    `head` names the layer that answers; without, it is found with images of `image_size`. Only messages need it.

    Raises `InputError` for anything else and for values that are not finite, and leaves the network as it was.
    """
    own = network.state_dict()
    found = match(own, file.tensors, origin)
    _check_all_used(own, found, file.tensors, origin, head or head_of(network, image_size))
    put(network, found.names, file.tensors, origin)
    return found.unused


def put(network: nn.Module, names: dict[str, str], tensors: State, origin: str) -> None:
    """Copy `tensors` by `names`, the network's to theirs. Raises `InputError` where a value is not finite."""
    own = network.state_dict()
    # as loaded: a narrower type may not hold a value of a wider one
    state = {name: tensors[other].to(own[name].dtype) for name, other in names.items()}
    broken = unusable(state)
    if broken is not None:
        raise InputError(
            f"weights {origin} cannot be used: {broken}",
            "Save them again from a network that predicts, or use another file.",
        )
    network.load_state_dict(state, strict=False)


def head_of(network: nn.Module, image_size: int | None) -> str | None:
    """The name of the layer that answers; None where it is not found, since a trial of the network tells why."""
    try:
        return find_head(network, image_size)
    except Exception:
        return None


def fits(own: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether `other` can be put in the place of `own`."""
    return own.shape == other.shape and own.is_floating_point() == other.is_floating_point()


def _check_all_used(own: State, found: Match, theirs: State, origin: str, head: str | None) -> None:
    """Raises `InputError` where the network lacks a tensor, or the file has one that is not used."""
    missing = [name for name in own if name not in found.names and not counts_batches(name)]
    unfit = [name for name, other in found.names.items() if not fits(own[name], theirs[other])]
    left = [name for name in found.unused if not is_needless(name)]
    of_head = {f"{head}.weight", f"{head}.bias"}
    if len(found.names) < len(own) / 2:
        raise InputError(
            f"weights {origin} are of another network: it has {len(found.names)} of {len(own)} tensors. "
            f"The backbone has {_few(missing)}; the file has {_few(list(theirs))}",
            _OTHER_BACKBONE,
        )
    if unfit:
        raise _does_not_fit(unfit, own, found, theirs, origin, of_head)
    if missing and set(missing) <= of_head:
        raise InputError(
            f"weights {origin} lack the head: {_few(missing)}" + (f". Not used: {_few(left)}" if left else ""),
            "Save the whole classifier, or put its head into the same file.",
        )
    if missing or left:
        lacking = f"the file lacks {_few(missing)}" if missing else "the file has all of the backbone"
        foreign = f"the backbone has no {_few(left)}" if left else "the backbone has all of the file"
        raise InputError(f"weights {origin} do not fit: {lacking}; {foreign}", _OTHER_BACKBONE)


def _does_not_fit(
    unfit: Sequence[str], own: State, found: Match, theirs: State, origin: str, of_head: set[str]
) -> InputError:
    name = unfit[0]
    given = theirs[found.names[name]]
    shapes = f"{found.names[name]} is {_described(given)} in the file and {_described(own[name])} in the backbone"
    if set(unfit) <= of_head and given.shape[1:] == own[name].shape[1:]:
        return InputError(
            f"weights {origin} tell {len(given)} classes apart, not {len(own[name])}: {shapes}",
            "Name as many classes as the file's head has, in its order.",
        )
    more = f", and {len(unfit) - 1} more do not fit" if unfit[1:] else ""
    return InputError(f"weights {origin} do not fit: {shapes}{more}", _OTHER_BACKBONE)


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if names[3:] else ''}"


def _described(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
