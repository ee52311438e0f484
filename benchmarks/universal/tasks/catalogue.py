"""Every task by name: what a generator learns from, what its calibration is set on, and what it is tested on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.universal.tasks.digits import PER_SOURCE, write_digits
from benchmarks.universal.tasks.fonts import SCRIPTS, font_task
from benchmarks.universal.tasks.icons import ICON_TASKS, icon_task
from benchmarks.universal.tasks.pictures import chess_task, clip_art_task, stamp_task
from benchmarks.universal.tasks.procedural import shape_task, texture_task
from benchmarks.universal.tasks.task import Task, write_task
from gformer_cli.data.demo.drawn.packages import Packages

TRAINING = (
    "digit-cameras",
    "rotated-mnist",
    "icons",
    "letters",
    "textures",
    "kana",
    "icons-2",
    "chess-pieces",
    "greek",
    "openclipart",
)
CALIBRATION = ("hebrew", "shapes")
HELD_OUT = ("stamps", "letters-case", "symbols")
"""Neither trained nor selected on."""
PROCEDURAL = {"textures": texture_task, "shapes": shape_task}
NAMES = TRAINING + CALIBRATION + HELD_OUT


def write(name: str, out: Path, packages: Packages) -> int:
    """Write the task of that name below `out`, in all its sizes; returns the number of images."""
    return write_digits(name, out) if name in PER_SOURCE else write_task(build(name, packages), out)


def build(name: str, packages: Packages) -> Task:
    """The task of that name, unless it is one of the demo's."""
    if name in SCRIPTS:
        return font_task(name, packages)
    if name in ICON_TASKS:
        return icon_task(name, packages)
    if name in PROCEDURAL:
        return PROCEDURAL[name]()
    return {"chess-pieces": chess_task, "openclipart": clip_art_task, "stamps": stamp_task}[name](packages)
