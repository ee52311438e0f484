"""Importing a classifier: its network with its own tensors, measured on images, as a run and a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from gformer_cli.bundle import DataHeader, OriginHeader, TemperaturesHeader, save_bundle, tensors_hash
from gformer_cli.compute.pace import Pace
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.trial import try_network
from gformer_cli.folders.domains import Domain
from gformer_cli.images.depth import Kind
from gformer_cli.images.preprocessing import Preprocessing, Skipped, read_batches
from gformer_cli.importing.classes import check_count
from gformer_cli.importing.generators import Chosen, unrecorded
from gformer_cli.networks.build import build_network
from gformer_cli.progress import Progress
from gformer_cli.settings import Settings
from gformer_cli.train.recorded import spacing
from gformer_cli.train.run_folder import ALL, Imported, RunFolder
from gformer_cli.train.source_models import preprocessing_of
from gformer_cli.weights.fitting import fill, head_of
from gformer_cli.weights.matching import match

if TYPE_CHECKING:
    from gformer_cli.importing.gather import OwnModel

_BATCH = 32
"""Images that are recorded together."""


@dataclass(frozen=True)
class Owned:
    """An owner's network with its own tensors, frozen, and what is known of it."""

    backbone: Backbone
    settings: Settings
    imported: Imported
    unused: tuple[str, ...]
    """Tensors of the file that are none of the network's."""

    @property
    def preprocessing(self) -> Preprocessing:
        return preprocessing_of(self.settings)


def own_network(own: OwnModel, settings: Settings, class_map: Mapping[str, str], device: torch.device) -> Owned:
    """The network of `own` with every tensor from its file.

    Raises `InputError` where network, file, classes and size of the images do not go together.
    """
    chosen = settings.backbone
    network = build_network(
        chosen.name,
        len(own.classes),
        stem=chosen.stem,
        width=chosen.width,
        image_size=settings.data.image_size,
        config=chosen.config,
    )
    head = chosen.head or head_of(network, settings.data.image_size)
    _check_outputs(own, network, head)
    unused = fill(network, own.weights, origin=own.weights_name, head=head)
    origin = OriginHeader(
        weights=own.weights_name,
        sha256=own.weights.sha256 or None,
        entry=own.weights.entry,
        tensors=tensors_hash(network.state_dict()),
        classes=own.classes_from,
        transform=own.transform.origin,
    )
    backbone = try_network(network, chosen.name, len(own.classes), settings.data.image_size, device, head)
    imported = Imported(classes=own.classes, class_map=dict(class_map), origin=origin)
    return Owned(backbone.freeze(), settings, imported, unused)


def _check_outputs(own: OwnModel, network: nn.Module, head: str | None) -> None:
    """Raises `InputError` where the file's head has another number of outputs than there are classes."""
    tensors = own.weights.tensors
    rows = match(network.state_dict(), tensors, own.weights_name).names.get(f"{head}.weight")
    if rows is not None:
        check_count(own.classes, len(tensors[rows]), own.classes_from)


def record(
    backbone: Backbone,
    preprocessing: Preprocessing,
    domains: Sequence[Domain],
    *,
    device: torch.device,
    workers: int,
    pace: Pace,
    progress: Progress,
) -> None:
    """Record what layers without statistics of their own show of `domains`, which need no labels."""
    if not unrecorded(backbone):
        return
    preprocessing = preprocessing.among(domains)
    chosen = [domain.files[:: spacing(len(domain.files))] for domain in domains]
    progress.begin("recording statistics", sum(map(len, chosen)))

    def batches() -> Iterator[torch.Tensor]:
        skipped: list[Skipped] = []
        for files in chosen:
            for batch in read_batches(files, preprocessing, batch_size=_BATCH, workers=workers, skipped=skipped):
                with pace.step(len(batch.files)):
                    yield preprocessing.network_input(batch.pixels, device)
                for _ in batch.files:
                    progress.advance()

    backbone.record(batches())
    progress.end()


def write_run(
    owned: Owned,
    run: RunFolder,
    *,
    chosen: Chosen,
    domains: Sequence[Domain],
    temperatures: TemperaturesHeader | None = None,
    overwrite: bool,
) -> None:
    """Make `run` the imported model's, with a bundle that can be used at once.

    `chosen` is its generator, and `domains` are what was recorded. Raises `InputError` for a folder that is in use.
    """
    run.claim(owned.settings, resume=False, overwrite=overwrite, imported=owned.imported)
    run.save_model(ALL, owned.backbone.network.state_dict())
    save_bundle(
        run.bundle,
        backbone=owned.backbone,
        generator=chosen.generator,
        constant=None,
        settings=chosen.settings,
        classes=owned.imported.classes,
        data=DataHeader(domains={}, fingerprint=""),
        validation={},
        temperatures=temperatures,
        levels=levels_of(owned.preprocessing, domains),
        lineage=chosen.lineage,
        origin=owned.imported.origin,
        class_map=owned.imported.class_map,
    )
    run.finish()


def levels_of(preprocessing: Preprocessing, domains: Sequence[Domain]) -> dict[Kind, tuple[float, float]]:
    """What is black and white in images of `domains` that have more than 8 bits, where they agree."""
    levels = preprocessing.among(domains).depth.common() if domains else {}
    return {kind: (level.black, level.white) for kind, level in levels.items()}
