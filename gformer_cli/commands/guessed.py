"""What a command says of accuracy where there are no labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gformer_cli.console import amount, percent, table

if TYPE_CHECKING:
    from gformer_cli.adapt import Estimate, Estimates
    from gformer_cli.bundle import Bundle
    from gformer_cli.export.model import GraphModel

SHOWN = 10
"""Targets on a terminal, those that are guessed worst."""


@dataclass(frozen=True)
class Guessed:
    """How right the answers probably are."""

    targets: Mapping[str, Estimate]
    missing: str | None
    """Why nothing is guessed of some targets or of any."""

    def to_json(self) -> dict[str, Any]:
        """By target."""
        return {target: found.to_json() for target, found in self.targets.items()}

    def told(self) -> list[Any]:
        """A table, and what to make of it."""
        from gformer_cli.adapt.estimates import CAUTION

        worst = sorted(self.targets.items(), key=lambda item: item[1].accuracy)[:SHOWN]
        rows = [
            [target, str(found.images), percent(found.accuracy), f"{percent(found.low)} to {percent(found.high)}"]
            for target, found in worst
        ]
        more = len(self.targets) - len(worst)
        title = "Accuracy as guessed without labels, %" + (f", the {SHOWN} lowest" if more else "")
        return [
            *(["", table(title, ["target", "images", "accuracy", "95 % interval"], rows)] if rows else []),
            *([f"{amount(more, 'more target', 'more targets')}: see --json"] if more else []),
            *([CAUTION] if rows else []),
            *([self.missing] if self.missing is not None else []),
        ]


def guessed(found: Estimates, bundle: Bundle | GraphModel, *, said: bool) -> Guessed:
    """What was `found`; `said` where the user has named a temperature."""
    missing = None if found.complete else f"No accuracy is guessed: {_why(bundle, said=said)}"
    return Guessed(found.found(), missing)


def _why(bundle: Bundle | GraphModel, *, said: bool) -> str:
    from gformer_cli.bundle import Bundle

    if not isinstance(bundle, Bundle):
        return "an exported file does not show the features that it is guessed from."
    if said:
        return "with --temperature nothing that was fitted holds."
    if bundle.estimators(1.0) is None:
        return "this bundle holds nothing to go by. gformer meta-train and import --source fit it."
    return "this network's last layer does not make its answer."
