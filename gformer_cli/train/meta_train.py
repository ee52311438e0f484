"""Meta-learn the generator in simulated tests on source images, and write the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gformer_cli.bundle import constant_settings, save_bundle
from gformer_cli.compute import ranks
from gformer_cli.compute.device import make_deterministic, pick_pace
from gformer_cli.compute.threads import Cores
from gformer_cli.data.inventory import Inventory
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError
from gformer_cli.files import check_appendable, check_fillable, check_writable
from gformer_cli.folders.domains import Domain, check_names
from gformer_cli.folders.targets import check_known_classes
from gformer_cli.images.depth import Kind
from gformer_cli.images.preprocessing import Skipped
from gformer_cli.images.store import PixelStore
from gformer_cli.progress import Progress, Silent
from gformer_cli.settings import Settings
from gformer_cli.train.episode_sources import EpisodeSource
from gformer_cli.train.examples import Example, examples_of
from gformer_cli.train.imported import Imports, check_copies, labelled_by, present
from gformer_cli.train.meta_crew import train_generators
from gformer_cli.train.meta_trainer import CONSTANT, GENERATOR
from gformer_cli.train.pretrain import hash_source, note_damage, read_source
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_images import SourceImages
from gformer_cli.train.source_models import SourceModels
from gformer_cli.train.start import check_start, lineage_of
from gformer_cli.train.trial import try_generating

OTHER_IMAGES = (
    "Give the --source folders that gformer pretrain had, or run it again with --overwrite: "
    "a model must not be tested on what it was trained on."
)
"""What to do where the images are others."""


@dataclass(frozen=True)
class MetaTrainResult:
    """What `meta_train` found."""

    validation: dict[str, float]
    """Accuracies on the validation episodes: `gformer`, `source`, `bn`, and `constant` where that is trained, too."""
    generator_parameters: int
    skipped: list[Skipped]
    examples: list[Example] = field(default_factory=list)


def meta_train(
    domains: Sequence[Domain],
    settings: Settings,
    run: RunFolder,
    *,
    device: torch.device,
    workers: int,
    store: PixelStore | None = None,
    cores: Cores | None = None,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    examples: int = 0,
    progress: Progress | None = None,
) -> MetaTrainResult:
    """Train a generator on episodes from `domains` with the models of `run`; writes `run.bundle`.

    `domains` must be the ones that `run` was pretrained on. Raises `InputError` where they are not, and
    `Interrupted` after Ctrl-C, with everything kept for `resume`. The result has so many `examples`.
    """
    progress = progress or Silent()
    source, imported = run.source(), run.imported()
    check_claim(run, resume=resume, overwrite=overwrite)
    check_images(domains, run, settings)
    make_deterministic(settings.seed)
    models = SourceModels(run, source, settings, device)
    try_generating(models.full, settings, len(source.classes), device)
    check_start(settings, models.full)
    lineage = lineage_of(settings)  # before a bundle that it starts from is replaced
    if imported is not None:
        given = present(domains)
        domains = ranks.from_first(
            lambda: labelled_by(
                models.full,
                given,
                source.classes,
                settings,
                device=device,
                workers=workers,
                pace=pick_pace(cores, device, progress),
                progress=progress,
            )
        )
    loaded, skipped = read_source(
        *(domains, source.classes, settings),
        workers=workers,
        strict=strict,
        inventory=Inventory(run.inventory_path),
        store=store,
        progress=progress,
    )
    hash_source(loaded, workers=workers, progress=progress)
    if imported is not None:
        source = Imports(run, loaded, settings, device, workers, cores, progress).take_in(models.full, resume=resume)
        models = SourceModels(run, source, settings, device)
    else:
        recorded_images(run).require(SourceImages.of(loaded), OTHER_IMAGES)
    if ranks.first():
        run.write_inventory(loaded)
    if not resume and ranks.first():  # an earlier bundle stays until the new one takes its place
        run.meta_train_log.unlink(missing_ok=True)
        run.drop_checkpoints()
    damage = note_damage(loaded, run.damaged_path)
    wanted = {GENERATOR: settings.generator}
    if settings.meta_train.constant and settings.generator.kind != "constant":
        wanted[CONSTANT] = constant_settings(settings.generator)
    origin = EpisodeSource(run.root.name, models, loaded, settings, source.leave_one_domain_out, source.fingerprint)
    own = settings, run, run.pixels_path, device, workers, cores, progress
    trained = train_generators(wanted, [origin], [run.place], *own)
    validation = dict(trained.figures[GENERATOR])
    if CONSTANT in trained.figures:
        validation["constant"] = trained.figures[CONSTANT]["gformer"]
    generators = {label: trainer.model.generator for label, trainer in trained.trainers.items()}
    skipped += damage.all()
    if ranks.first():
        save_bundle(
            run.bundle,
            backbone=models.full,
            generator=generators[GENERATOR],
            constant=generators.get(CONSTANT),
            settings=_without_place(settings),
            classes=source.classes,
            data=source.header(),
            validation=validation,
            guard=trained.guard,
            temperatures=trained.temperatures,
            levels=_levels(loaded),
            lineage=lineage,
            origin=None if imported is None else imported.origin,
            class_map=None if imported is None else imported.class_map,
        )
        run.drop_checkpoints()
    shown = examples_of(trained.trainers[GENERATOR].works[0], source.classes, examples)
    return MetaTrainResult(validation, sum(p.numel() for p in generators[GENERATOR].parameters()), skipped, shown)


def _without_place(settings: Settings) -> Settings:
    """As a bundle has them: of a file to start from its name alone; where it lies is nobody's business elsewhere."""
    start = Path(settings.meta_train.start).name
    return settings.model_copy(update={"meta_train": settings.meta_train.model_copy(update={"start": start})})


def _levels(loaded: Sequence[LabelledDomain]) -> dict[Kind, tuple[float, float]]:
    """What targets with more than 8 bits are to be read by."""
    agreed = loaded[0].preprocessing.depth.common()
    return {kind: (levels.black, levels.white) for kind, levels in agreed.items()}


def check_claim(run: RunFolder, *, resume: bool, overwrite: bool) -> None:
    """Raises `InputError` where meta-training `run` would overwrite something unasked; touches nothing.

    Of several processes the first one looks: the others might see what it has begun to write.
    """
    if not ranks.first():
        return
    started = run.meta_trained or run.checkpoint(GENERATOR).exists or run.takes_in
    if started and not (resume or overwrite):
        raise InputError(
            f"{run.root} has been meta-trained already, or in part",
            "Continue with --resume, train a new generator with --overwrite, or use another --run.",
        )
    if resume and run.meta_trained and not run.checkpoint(GENERATOR).exists:
        raise InputError(f"nothing to resume: {run.bundle} is finished", "Train a new one with --overwrite.")
    check_writable(run.bundle)
    check_appendable(run.meta_train_log)
    check_fillable(run.checkpoints)


def check_images(domains: Sequence[Domain], run: RunFolder, settings: Settings) -> None:
    """Raises `InputError` where `domains` or their classes are not those that `run` can be meta-trained on.

    A model that was trained here wants the images that it was trained on. An imported one knows its classes alone.
    Reads no image.
    """
    copies = settings.meta_train.leave_one_domain_out
    if run.imported() is None:
        if copies:
            raise InputError(
                f"--leave-one-domain-out is for imported models, and that of {run.root} was trained here",
                "Leave it out: gformer pretrain has trained the models without each domain, unless it was told not to.",
            )
        recorded_images(run).require_folders(domains, OTHER_IMAGES)
        return
    check_names(domains)
    check_known_classes(domains, run.source().classes)
    if copies:
        check_copies(domains)


def recorded_images(run: RunFolder) -> SourceImages:
    """What the source model of `run` was trained on."""
    source = run.source()
    return run.images() or SourceImages.of_counts(source.fingerprint, source.domains)
