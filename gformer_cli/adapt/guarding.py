"""Which guard `gformer adapt` follows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError
from gformer_cli.export.model import GraphModel
from gformer_cli.guard.rule import SMALLEST_BATCH, Guard

FURTHEST_LIMIT = 1e9
"""No score comes near, and differences of limits stay finite."""


def choose_guard(bundle: Bundle | GraphModel, *, wanted: bool, limits: Sequence[str]) -> Guard | None:
    """The bundle's guard with `limits` (NAME=VALUE each) in the place of its own; None unless `wanted` and calibrated.

    Raises `InputError` for limits that cannot take effect, that are not known, and that are no numbers in range.
    """
    if limits and not wanted:
        raise InputError("--guard-limit has no effect with --guard off", "Leave out one of them.")
    if not wanted:
        return None
    if limits and isinstance(bundle, GraphModel):
        raise InputError(
            f"--guard-limit has no effect on {bundle.path}: its guard decides in the graph", "Predict with its bundle."
        )
    if bundle.guard is None:
        if limits:
            raise InputError(
                "--guard-limit has no effect: the bundle holds no calibrated guard",
                "Run gformer meta-train again: it calibrates one.",
            )
        return None
    return bundle.guard.with_limits(dict(_parse(text) for text in limits))


def _parse(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not equals or math.isnan(number):
        raise InputError(f"--guard-limit wants NAME=NUMBER, got {text!r}", "For example: --guard-limit strangeness=2.5")
    if abs(number) > FURTHEST_LIMIT:
        raise InputError(
            f"--guard-limit {text} is out of range",
            f"A limit lies between {-FURTHEST_LIMIT:g} and {FURTHEST_LIMIT:g}; {FURTHEST_LIMIT:g} is never reached.",
        )
    if name.strip() == SMALLEST_BATCH and number < 0.0:
        raise InputError(f"--guard-limit {text} is out of range", "It is a number of images; 0 leaves none to source.")
    return name.strip(), number
