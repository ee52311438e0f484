"""Whether a source model's validation was still rising when its training ended: with more steps it would be better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gformer_cli.files import MIB, read_text
from gformer_cli.settings import PretrainSettings
from gformer_cli.train.schedule import longest_hold

_LARGEST = 256 * MIB
_HELD_GAIN = 0.005
"""Accuracy gained in the last validations under a held learning rate that counts as rising."""
_FALLING_GAIN = 0.02
"""The same in the last quarter of a learning rate that falls all the way: a fall is worth something by itself."""


def still_rising(validations: Sequence[tuple[int, float]], options: PretrainSettings) -> bool | None:
    """Judge a training by all its validations (steps done, accuracy), in order; None where there are none.

    With patience it is only one that came to its last step: before that, patience ran out.
    """
    if not validations:
        return None
    if options.patience is None:
        parted = 0.75 * options.steps
        late = [accuracy for step, accuracy in validations if step > parted]
        early = [accuracy for step, accuracy in validations if step <= parted]
        return max(late, default=0.0) - max(early, default=0.0) > _FALLING_GAIN
    if validations[-1][0] < options.steps:
        return False
    held = [accuracy for step, accuracy in validations if step <= longest_hold(options.steps)]
    late, early = held[-options.patience :], held[: -options.patience]
    return max(late, default=0.0) - max(early, default=0.0) > _HELD_GAIN


def logged(log: Path, label: str) -> list[tuple[int, float]]:
    """The validations of the model `label` in a log of `pretrain`: steps done, accuracy; none where it is not there.

    A line that a crash has cut off is left out. What was done twice, before and after a crash, counts once.
    """
    found: dict[int, float] = {}
    with suppress(OSError):
        for text in read_text(log, _LARGEST).splitlines():
            with suppress(ValueError):
                line = json.loads(text)
                if line["model"] == label:
                    found[line["step"]] = line["validation_accuracy"]
    return sorted(found.items())
