"""Another generator for the source model that a run holds already, without any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gformer_cli.bundle import TemperaturesHeader, read_header, save_bundle
from gformer_cli.core.backbone import Backbone
from gformer_cli.errors import InputError
from gformer_cli.files import check_writable
from gformer_cli.folders.domains import Domain
from gformer_cli.images.depth import Kind
from gformer_cli.images.preprocessing import Preprocessing
from gformer_cli.importing.generators import Chosen, unrecorded
from gformer_cli.importing.model import levels_of
from gformer_cli.networks.own_code import check_own_code
from gformer_cli.settings import Settings
from gformer_cli.train.run_folder import ALL, Imported, RunFolder, SourceData
from gformer_cli.train.source_models import SourceModels, preprocessing_of


@dataclass(frozen=True)
class Held:
    """The source model of a run, frozen, and what is known of it."""

    run: RunFolder
    backbone: Backbone
    settings: Settings
    source: SourceData
    imported: Imported | None
    """None where it was trained here."""

    @property
    def preprocessing(self) -> Preprocessing:
        return preprocessing_of(self.settings)

    @property
    def class_map(self) -> dict[str, str]:
        return {} if self.imported is None else self.imported.class_map


def held_by(run: RunFolder, own_backbone: str | None, device: torch.device) -> Held:
    """What `run` holds; `own_backbone` is the user's `FILE.py:FUNCTION` that builds a network of their own code.

    Raises `InputError` for a run without a finished source model.
    """
    settings, source, imported = run.settings(), run.source(), run.imported()
    name = check_own_code(settings.backbone.name, own_backbone, f"run {run.root}")
    settings = settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"name": name})})
    models = SourceModels(run, replace(source, leave_one_domain_out=False), settings, device)
    return Held(run, models.full, settings, source, imported)


def check_exchange(bundle: Path, *, overwrite: bool) -> None:
    """Raises `InputError` where a bundle would be replaced unasked, or cannot be written; touches nothing."""
    if bundle.exists() and not overwrite:
        raise InputError(
            f"{bundle} is there already",
            "--overwrite makes it anew: the network stays, generator and confidences are as asked for now.",
        )
    check_writable(bundle)


def exchange(
    held: Held,
    chosen: Chosen,
    domains: Sequence[Domain],
    *,
    temperatures: TemperaturesHeader | None = None,
    recorded: bool,
) -> None:
    """Write the run's bundle with the generator `chosen`.

    `domains` are source images, where any are at hand; with `recorded`, layers of the model were shown them just now.
    """
    run, imported = held.run, held.imported
    levels = levels_of(held.preprocessing, domains) or _levels_before(run.bundle)
    if recorded:
        state = held.backbone.network.state_dict()
        run.save_model(ALL, {name: state[name] for name in run.load_model(ALL)})
    save_bundle(
        run.bundle,
        backbone=held.backbone,
        generator=chosen.generator,
        constant=None,
        settings=chosen.settings,
        classes=held.source.classes,
        data=held.source.header(),
        validation={},
        temperatures=temperatures,
        levels=levels,
        lineage=chosen.lineage,
        origin=None if imported is None else imported.origin,
        class_map=held.class_map,
    )


def _levels_before(bundle: Path) -> dict[Kind, tuple[float, float]]:
    """As the bundle has them that is replaced, if there is a whole one: they are the source images', not its own."""
    try:
        return dict(read_header(bundle).levels)
    except InputError:
        return {}


def will_record(held: Held, domains: Sequence[Domain]) -> bool:
    """Whether `domains` have something to show to layers that have seen no source image."""
    return bool(domains) and bool(unrecorded(held.backbone))
