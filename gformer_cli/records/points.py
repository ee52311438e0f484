"""The journal of a training, as points of its curves."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gformer_cli.files import MIB, atomic_path, read_text

_LARGEST = 256 * MIB
CONDITIONS = ("threads", "seconds")
"""Of a line: how it came about, not what was found."""


@dataclass(frozen=True)
class Point:
    """What a training knew of itself at one step."""

    model: str
    """Which of the stage's models: `all`, `without-DOMAIN`; `generator`, `constant`."""
    step: int
    figures: dict[str, float]
    """Loss and accuracies by name, and the `CONDITIONS`."""


def read_points(journal: Path) -> list[Point]:
    """The points of a journal, by model and step; none where there is no journal.

    A line that a crash has cut off is left out. What was done twice, before and after a crash, counts once.
    """
    found: dict[tuple[str, int], Point] = {}
    with suppress(OSError):
        for text in read_text(journal, _LARGEST).splitlines():
            with suppress(ValueError, TypeError, KeyError, AttributeError):
                line = json.loads(text)
                model, step = str(line.pop("model")), int(line.pop("step"))
                figures = {name: float(value) for name, value in line.items() if value is not None}
                found[model, step] = Point(model, step, figures)
    return [found[key] for key in sorted(found)]


def write_table(points: Sequence[Point], path: Path) -> None:
    """A CSV of `points`: a row each, a column for each figure."""
    columns = list(dict.fromkeys(name for point in points for name in point.figures))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["model", "step", *columns])
        for point in points:
            rows.writerow([point.model, point.step, *(point.figures.get(name, "") for name in columns)])
