"""All corruptions by name: our own, and those of ImageNet-C where the library is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gformer_cli.data.corruptions import CORRUPTIONS, Corruption
from gformer_cli.data.imagenet_c import IMAGENET_C, PREFIX, SMALLEST, check_installed
from gformer_cli.errors import InputError, did_you_mean

CATALOGUE: dict[str, Corruption] = CORRUPTIONS | IMAGENET_C
ALL = "all"
"""The word for all of our own."""


def choose_corruptions(words: Sequence[str]) -> list[str]:
    """Names from words such as `fog,blur`, without repetition: of corruptions, of groups, `all` or `imagenet-c`.

    `_` may stand for `-`. Raises `InputError` for no word, for one that is none of them, and for a missing library.
    """
    meanings = _meanings()
    found: list[str] = []
    for text in filter(None, (part.strip() for word in words for part in word.split(","))):
        word = text.replace("_", "-")
        if word not in meanings:
            raise InputError(f"unknown corruption: {text!r}", f"{did_you_mean(word, meanings)} Groups: {_groups()}.")
        found += meanings[word]
    if not found:
        raise InputError("no corruption named", f"For example: fog,rain. Groups: {_groups()}.")
    if not {*found}.isdisjoint(IMAGENET_C):
        check_installed()
    return list(dict.fromkeys(found))


def smallest_side(names: Iterable[str]) -> int:
    """Pixels that a side must have under all of these corruptions."""
    return 1 if {*names}.isdisjoint(IMAGENET_C) else SMALLEST


def _meanings() -> dict[str, list[str]]:
    found = {ALL: [*CORRUPTIONS], PREFIX: [*IMAGENET_C]}
    for name, corruption in CATALOGUE.items():
        found.setdefault(corruption.group, []).append(name)
        found[name] = [name]
    return found


def _groups() -> str:
    return ", ".join([ALL, PREFIX, *dict.fromkeys(corruption.group for corruption in CORRUPTIONS.values())])
