"""Preprocessing as a file or a library states it, checked and told in the settings' terms. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from gformer_cli.errors import InputError, did_you_mean, plain
from gformer_cli.settings import DataSettings, Interpolation

EXAMPLE = '{"resize": 256, "crop": 224, "interpolation": "bilinear", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}'
"""Of a file that says it all."""
_SO = "A FILE.json of your own says it so: " + EXAMPLE
_MOST = 1e9
"""What any number may be: far beyond all sense."""
_OTHERS = ("white_level", "validation_fraction")
"""Fields of `DataSettings` that no description of preprocessing decides on."""


@dataclass(frozen=True)
class Transform:
    """How an owner's own code makes the network's input of an image file."""

    changes: dict[str, Any]
    """Fields of `DataSettings` by name: all that decide on the pixels of 8-bit images."""
    origin: str
    """Where it came from, for people; of a file its name without the place."""
    alternatives: tuple[str, ...] = ()
    """The library's other weights of this backbone whose images are prepared otherwise."""


def transform(origin: str, changes: Mapping[str, Any]) -> Transform:
    """A transform with these fields, and else the settings' defaults.

    Images are read plainly and decoded in full, unless `changes` say otherwise.

    Raises `InputError` where a field is not what the settings allow.
    """
    whole = {"reading": "plain", "reduced_jpeg": False, **changes}
    try:
        checked = DataSettings.model_validate(whole)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"transform of {origin}: {f'{where}: ' if where else ''}{plain(first['msg'])}",
            _SO,
        ) from None
    return Transform({name: value for name, value in checked if name not in _OTHERS}, origin)


def cannot(origin: str, what: str, hint: str = "") -> InputError:
    """The error for preprocessing that gformer cannot do."""
    return InputError(f"transform of {origin}: {what}", hint or _SO)


def side(origin: str, name: str, value: object) -> int:
    """One length, in pixels, of a number or of two equal ones."""
    lengths = _listed(value)
    if not lengths or any(isinstance(one, bool) or not isinstance(one, int) or not 0 < one <= _MOST for one in lengths):
        raise cannot(origin, f"{name} is {value!r}, which is no length in pixels")
    if len(set(lengths)) > 1 or len(lengths) > 2:
        raise cannot(origin, f"{name} is {value!r}, and networks take square images", "Give one length for both sides.")
    return int(lengths[0])


def three(origin: str, name: str, value: object) -> tuple[float, float, float]:
    """One number for each of the input's three channels; a single one stands for all."""
    numbers = _listed(value)
    if any(isinstance(one, bool) or not isinstance(one, int | float) or not abs(one) <= _MOST for one in numbers):
        raise cannot(origin, f"{name} is {value!r}, which are no numbers")
    if len(numbers) == 1:
        numbers = numbers * 3
    if len(numbers) != 3:
        raise cannot(origin, f"{name} has {len(numbers)} values", "Networks take three channels: give 3 values.")
    red, green, blue = (float(one) for one in numbers)
    return red, green, blue


def _listed(value: object) -> list[Any]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def share(origin: str, name: str, value: object) -> float:
    """The share of a resized image that a crop keeps."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 100:
        raise cannot(origin, f"{name} is {value!r}, which is no share such as 0.875")
    return float(value)


def filter_name(origin: str, value: object) -> str:
    """The name of an interpolation."""
    known = get_args(Interpolation)
    if value not in known:
        raise cannot(origin, f"unknown interpolation: {value!r}", did_you_mean(str(value), known))
    return str(value)
