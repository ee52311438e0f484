"""A model out of a file."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import torch

from gformer_cli.adapt.guarding import FURTHEST_LIMIT
from gformer_cli.bundle import Bundle
from gformer_cli.compute.device import pick_device, pick_workers
from gformer_cli.errors import InputError
from gformer_cli.export.header import is_graph_file
from gformer_cli.export.model import GraphModel, load_model
from gformer_cli.guard.rule import SMALLEST_BATCH, Guard
from gformer_cli.python.model import Model
from gformer_cli.python.reading import PreprocessingReader
from gformer_cli.settings import TEMPERATURES, Precision

GuardMode: TypeAlias = Literal["on", "warn", "off"]
_BUNDLE = "model.gformer"


def load(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    guard: GuardMode = "on",
    guard_limits: Mapping[str, float] | None = None,
    precision: Precision = "float32",
    white_level: float | None = None,
    temperature: float | None = None,
    backbone: str | None = None,
    workers: int | None = None,
) -> Model:
    """The model of a bundle, of a run folder, or of an exported ONNX file. It gives the numbers of `gformer adapt`.

    Args:
        path: what `gformer meta-train`, `import`, `freeze` or `export` wrote; or the run folder.
        device: `auto` is the first GPU, else the CPU.
        guard: `on` leaves a batch that adapting may harm to the source model, in part or in whole; `warn` decides and
            says so in the result, but predicts as generated; `off` does not look.
        guard_limits: other thresholds than the calibrated ones, by the names that `gformer inspect` lists.
        precision: `float32`, `bfloat16`, or `auto`: bfloat16 on GPUs that have it.
        white_level: what is white in images of more than 8 bits; None for what it was in training, or else what each
            image seems to have.
        temperature: what logits are divided by before they become probabilities; None for what was fitted on source
            images, else 1.
        backbone: of a bundle that was made with your own code: `FILE.py:FUNCTION`, which is run.
        workers: threads that decode the images of a batch; None for one a core, at most eight.

    Raises `InputError` for what is not there or does not fit, and `ValueError` for an unknown mode.
    """
    place = Path(path)
    place = place / _BUNDLE if place.is_dir() else place
    check_choice("guard", guard, GuardMode)
    check_choice("precision", precision, Precision)
    if white_level is not None and not 0.0 < white_level < math.inf:
        raise ValueError(f"white_level must be above 0, such as 4095, not {white_level}")
    if temperature is not None and not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        raise ValueError(f"temperature must be from {TEMPERATURES[0]:g} to {TEMPERATURES[1]:g}, not {temperature}")
    if is_graph_file(place):
        _check_graph(place, str(device), precision, guard_limits or {})
    where = pick_device("cpu" if is_graph_file(place) else str(device))
    with torch.random.fork_rng(devices=[]):  # networks are made with random weights first
        bundle = load_model(place, threads=torch.get_num_threads(), own_backbone=backbone, white_level=white_level)
    if temperature is not None:
        bundle.set_temperature(temperature)
    if isinstance(bundle, Bundle):
        bundle.to(where)
    return Model(
        bundle,
        PreprocessingReader(bundle.preprocessing),
        guard=_guard(bundle, guard, guard_limits or {}),
        obeyed=guard == "on",
        precision=precision,
        workers=pick_workers(workers),
    )


def check_choice(name: str, value: object, choices: object) -> None:
    """Raises `ValueError` for a value that is none of a `Literal`'s."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, not {value!r}")


def _check_graph(path: Path, device: str, precision: str, limits: Mapping[str, float]) -> None:
    """Raises `InputError` for options that cannot take effect on an exported file."""
    for name, wrong, hint in (
        (f"device {device} has", device not in ("auto", "cpu"), "ONNX files run on the CPU here."),
        (f"precision {precision} has", precision == "bfloat16", "Its graph computes in float32."),
        ("guard_limits have", bool(limits), "Its guard decides in the graph: load its bundle."),
    ):
        if wrong:
            raise InputError(f"{name} no effect on {path}", hint)


def _guard(bundle: Bundle | GraphModel, mode: GuardMode, limits: Mapping[str, float]) -> Guard | None:
    rule = None if mode == "off" else bundle.guard
    if not limits:
        return rule
    if rule is None:
        why = "guard is off" if mode == "off" else "the bundle holds no calibrated guard"
        raise InputError(f"guard_limits have no effect: {why}", "Leave them out.")
    for name, value in limits.items():
        least = 0.0 if name == SMALLEST_BATCH else -FURTHEST_LIMIT
        if not least <= value <= FURTHEST_LIMIT:
            raise InputError(f"guard limit {name} is {value}", f"It must lie between {least:g} and {FURTHEST_LIMIT:g}.")
    return rule.with_limits(limits)
