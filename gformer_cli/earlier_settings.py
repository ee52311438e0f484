"""Settings as earlier versions saved them: read from run folders and bundles, not taken from users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "generator.constant": "generator.on_constant",
    "meta_train.control": "meta_train.constant",
    "meta_train.few_classes": "meta_train.skewed",
    "meta_train.validation_few_classes": "meta_train.validation_skewed",
    "pretrain.leave_one_out": "pretrain.leave_one_domain_out",
}
"""Dotted keys of before, and what they are called now."""
_GONE: Mapping[str, Mapping[str, Any]] = {"generator": {"probe_scale": 1.0, "gradient_layers": None}}
"""Per section what is no more, with the value at which it did nothing."""


def as_of_now(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a section under the names of now.

    Raises `ValueError` where something was trained with a setting that is no more.
    """
    gone = _GONE.get(section, {})
    for name, idle in gone.items():
        if name in values and values[name] != idle:
            raise ValueError(f"{section}.{name} is no more, and this was trained with {values[name]}")
    present = {key: value for key, value in values.items() if key not in gone}
    for before, now in RENAMED.items():
        of, _, name = before.partition(".")
        new = now.rpartition(".")[2]
        if of == section and name in present and new not in present:
            present[new] = present.pop(name)
    return present
