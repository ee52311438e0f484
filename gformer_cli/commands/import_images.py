"""The images that `gformer import` is given: found, recorded, and what a model is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gformer_cli.commands.found import SOURCE_SPLITS, find_images
from gformer_cli.compute.threads import Cores
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, Found, Known, Layout
from gformer_cli.folders.targets import check_known_classes

if TYPE_CHECKING:
    import torch

    from gformer_cli.bundle import TemperaturesHeader
    from gformer_cli.core.backbone import Backbone
    from gformer_cli.images.preprocessing import Preprocessing
    from gformer_cli.importing.generators import Chosen
    from gformer_cli.importing.proof import Proof


@dataclass(frozen=True)
class Asked:
    """What the command line says of images."""

    source: Sequence[Path]
    check: Sequence[Path]
    layout: Layout
    expect: float | None
    strict: bool


@dataclass(frozen=True)
class Images:
    """`--source` and `--check`."""

    sources: Found
    checks: Found

    @property
    def measured(self) -> list[Domain]:
        """What the model is measured on: `--check`, or else those sources that have labels."""
        return list(self.checks.domains) or [domain for domain in self.sources.domains if domain.classes]

    @property
    def together(self) -> Found:
        return Found([*self.sources.domains, *self.checks.domains], [*self.sources.aside, *self.checks.aside])


@dataclass(frozen=True)
class Machine:
    """What computes."""

    device: torch.device
    workers: int
    cores: Cores


@dataclass(frozen=True)
class Measured:
    """What a model answered to labelled images; nothing without any."""

    proof: Proof | None = None
    """Of the source model."""
    adapted: dict[str, float] = field(default_factory=dict)
    """Accuracy by domain when each batch is adapted to."""
    temperatures: TemperaturesHeader | None = None
    """Fitted on labelled sources; None without any."""


def find(terminal: Terminal, asked: Asked, known: Known) -> Images:
    """The images in the folders. Raises `InputError`, also where there is nothing to expect an accuracy on."""
    found = Images(
        _find(terminal, asked.source, known, asked, unlabelled=True, splits=SOURCE_SPLITS),
        _find(terminal, asked.check, known, asked, unlabelled=False),
    )
    if asked.expect is not None and not found.measured:
        raise InputError("--expect needs labelled images to measure the model on", "Add --check DIR.")
    return found


def _find(
    terminal: Terminal,
    folders: Sequence[Path],
    known: Known,
    asked: Asked,
    *,
    unlabelled: bool,
    splits: Sequence[str] = (),
) -> Found:
    if not folders:
        return Found()
    found = find_images(
        terminal, folders, asked.layout, strict=asked.strict, unlabelled=unlabelled, known=known, splits=splits
    )
    check_known_classes(found.domains, list(known.classes))
    return found


def look(
    terminal: Terminal,
    backbone: Backbone,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    chosen: Chosen,
    images: Images,
    asked: Asked,
    machine: Machine,
) -> Measured:
    """Record what layers without statistics show of the sources, measure the model as it is and adapted, and fit its
    temperatures on sources that have labels.

    Raises `WorkError` where the accuracy is not the expected one.
    """
    from gformer_cli.compute.device import pick_pace
    from gformer_cli.data.labelled import unreadable
    from gformer_cli.importing.adapted import adapted_accuracies
    from gformer_cli.importing.confidence import fit_on
    from gformer_cli.importing.model import record
    from gformer_cli.importing.proof import prove

    device, workers = machine.device, machine.workers
    with terminal.progress() as progress:
        pace = pick_pace(machine.cores, device, progress)
        if images.sources.domains:
            own = backbone, preprocessing, images.sources.domains
            record(*own, device=device, workers=workers, pace=pace, progress=progress)
        if not images.measured:
            return Measured()
        labelled = images.measured, classes, preprocessing
        proof = prove(backbone, *labelled, device=device, workers=workers, pace=pace, progress=progress)
        if asked.strict and proof.skipped:
            raise unreadable(proof.skipped)
        if asked.expect is not None:
            proof.require(asked.expect)
        adapted = adapted_accuracies(
            backbone, chosen, *labelled, device=device, workers=workers, pace=pace, progress=progress
        )
        sources = [domain for domain in images.sources.domains if domain.classes]
        temperatures = fit_on(sources, backbone, chosen, classes, preprocessing, device, workers, pace, progress)
    terminal.skipped([(item.path, item.reason) for item in proof.skipped])
    return Measured(proof, adapted, temperatures)
