"""Class names in the order of a head, in the forms in which training scripts keep them. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LISTS = ("classes", "class_names", "CLASSES", "names", "label_names", "labels", "categories")
_KEYS = ("class_to_idx", "label2id", "id2label", "idx_to_class", *_LISTS)
"""What states the indices comes first: a list beside it may be sorted."""
_HOLDERS = ("dataset_meta", "meta", "hyper_parameters", "hparams", "config", "data")
"""Where names are looked for as well, if they are not at the top."""


def as_class_names(value: Any) -> list[str] | None:
    """Names in the order of the head from a list of them, `class_to_idx` or `id2label`; None for anything else.

    Indices may be numbers or their digits, and must be 0 to K - 1, each once.
    """
    if isinstance(value, (list, tuple)):
        names = list(value)
        return names if names and all(isinstance(name, str) and name for name in names) else None
    if not isinstance(value, Mapping) or not value:
        return None
    by_index = {_index(key): name for key, name in value.items()}  # id2label
    if None in by_index or all(isinstance(name, int) for name in value.values()):
        by_index = {_index(index): name for name, index in value.items()}  # class_to_idx
    if len(by_index) != len(value) or set(by_index) != set(range(len(value))):
        return None
    return as_class_names([by_index[index] for index in range(len(value))])


def class_names_in(content: Any) -> list[str] | None:
    """The class names that a checkpoint holds beside its weights, under one of the usual keys; None without."""
    if not isinstance(content, Mapping):
        return None
    for key in _KEYS:
        names = as_class_names(content.get(key))
        if names is not None and len(names) > 1:
            return names
    held = (class_names_in(content.get(holder)) for holder in _HOLDERS if holder in content)
    return next((names for names in held if names is not None), None)


def _index(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        return int(value)
    return value if isinstance(value, int) else None
