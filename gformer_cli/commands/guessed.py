"""What a command says of accuracy where there are no labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gformer_cli.console import amount, percent, table

if TYPE_CHECKING:
    from gformer_cli.adapt import Estimate, Estimates

_SAID = "with --temperature nothing that was fitted holds."
_NOTHING = "this bundle holds nothing to go by. gformer meta-train, and import with labelled --source, fit it."
SHOWN = 10
"""Targets on a terminal, those that are guessed worst."""


@dataclass(frozen=True)
class Guessed:
    """How right the answers probably are."""

    estimator: str | None
    """By which; None where nothing is guessed."""
    targets: Mapping[str, Estimate]
    missing: str = ""
    """Why nothing is."""

    def to_json(self) -> dict[str, Any]:
        """The estimator, and what it says by target; nothing where there is none."""
        if self.estimator is None:
            return {}
        targets = {target: found.to_json() for target, found in self.targets.items()}
        return {"estimator": self.estimator, "targets": targets}

    def told(self) -> list[Any]:
        """A table, and what to make of it."""
        from gformer_cli.adapt.estimates import CAUTION
        from gformer_cli.evaluate.estimates import TITLES

        if self.estimator is None:
            return [self.missing]
        worst = sorted(self.targets.items(), key=lambda item: item[1].accuracy)[:SHOWN]
        rows = [
            [target, str(found.images), percent(found.accuracy), f"{percent(found.low)} to {percent(found.high)}"]
            for target, found in worst
        ]
        more = len(self.targets) - len(worst)
        lowest = f", the {SHOWN} lowest" if more else ""
        title = f"Accuracy in %, guessed without labels by {TITLES[self.estimator]}{lowest}"
        return [
            *(["", table(title, ["target", "images", "accuracy", "95 % interval"], rows)] if rows else []),
            *([f"{amount(more, 'more target', 'more targets')}: see --json"] if more else []),
            *([CAUTION] if rows else []),
        ]


def guessed(found: Estimates | None, *, said: bool) -> Guessed:
    """What was `found`; `said` where the user has named a temperature."""
    targets = {} if found is None else found.found()
    if found is not None and targets:
        return Guessed(found.estimator, targets)
    return Guessed(None, {}, f"No accuracy is guessed: {_SAID if said else _NOTHING}")
