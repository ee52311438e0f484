"""Runs of the mix, ready for episodes: their models, and their images, which are decoded once for all networks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from benchmarks.universal.mix import Run
from gformer_cli.core.backbone import Backbone
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError
from gformer_cli.files import atomic_path
from gformer_cli.progress import Silent
from gformer_cli.settings import Settings
from gformer_cli.train.pretrain import read_source
from gformer_cli.train.run_folder import ALL, RunFolder, SourceData
from gformer_cli.train.source_images import SourceImages
from gformer_cli.train.source_models import SourceModels, new_network

_IMAGES = "images"
"""The folder beside the runs that keeps decoded images."""


RUN_SECTIONS = ("data", "backbone", "pretrain")
"""The sections of the settings that a run's models and images depend on."""


@dataclass(frozen=True)
class Loaded:
    """A run that is ready for episodes."""

    run: Run
    settings: Settings
    source: SourceData
    models: Models
    domains: Sequence[LabelledDomain]


class Models(SourceModels):
    """The source models of a run. A network is built once and copied: making one takes longer than reading it."""

    def __init__(self, run: RunFolder, source: SourceData, settings: Settings, device: torch.device) -> None:
        network = new_network(settings, len(source.classes), with_weights=False)
        self.full = self._filled(run, ALL, network, settings, settings.backbone.head).to(device)
        head = self.full.classifier_name
        self._without = {
            name: self._filled(run, f"without-{name}", copy.deepcopy(network), settings, head).to(device)
            for name in (source.domains if source.leave_one_domain_out else ())
        }

    @staticmethod
    def _filled(run: RunFolder, label: str, network: torch.nn.Module, settings: Settings, head: str | None) -> Backbone:
        run.put_model(label, network)
        return Backbone(network, image_size=settings.data.image_size, head=head).freeze()


def load_runs(runs: Sequence[Run], place: Path, tasks: Path | None, device: torch.device) -> list[Loaded]:
    """Those of `runs` that are done in the folder `place`; their images are beside them, or in `tasks`."""
    found: list[Loaded] = []
    for run in runs:
        folder = RunFolder(place / run.name)
        if folder.source_path.is_file():
            settings, source = settings_of(run, folder), folder.source()
            models = Models(folder, source, settings, device)
            found.append(Loaded(run, settings, source, models, keep_images(run, folder, tasks)))
    return found


def settings_of(run: Run, folder: RunFolder) -> Settings:
    """Those that a run was trained with; a network of the mix's own code is where that code lies now."""
    settings = folder.settings()
    name = run.settings(()).backbone.name
    return settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"name": name})})


def keep_images(run: Run, folder: RunFolder, tasks: Path | None) -> list[LabelledDomain]:
    """The decoded source images of a run, from the file that keeps them or, the first time, from the task's folder.

    Raises `InputError` where they are not those that the run was trained on.
    """
    settings, source = settings_of(run, folder), folder.source()
    size, deviation = settings.data.image_size, settings.data.std[0]
    place = folder.root.parent / _IMAGES / f"{run.task}-{size}-{deviation:g}{'-whole' if run.patient else ''}.pt"
    loaded = _kept(place) if place.is_file() else None
    if loaded is None or SourceImages.of(loaded).fingerprint != source.fingerprint:
        if tasks is None:
            raise InputError(f"there are no images of {run.task} beside {folder.root}", "Name the folder of the tasks.")
        loaded, _ = read_source(run.domains(tasks), source.classes, settings, workers=0, strict=True, progress=Silent())
        if SourceImages.of(loaded).fingerprint != source.fingerprint:
            raise InputError(f"{folder.root} was trained on other images of {run.task}", "Train it again, elsewhere.")
        place.parent.mkdir(exist_ok=True)
        with atomic_path(place) as temporary:
            torch.save(loaded, temporary)
    return loaded


@lru_cache
def _kept(place: Path) -> list[LabelledDomain]:
    loaded: list[LabelledDomain] = torch.load(place, weights_only=False)  # our own file, of classes of the tool
    return loaded
