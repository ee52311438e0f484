"""Meta-learn the generator in simulated tests on source images, and write the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gformer_cli.bundle import DataHeader, build_generator, build_method, control_settings, save_bundle
from gformer_cli.config import Settings
from gformer_cli.core.generators import Generator
from gformer_cli.data.depth import Kind
from gformer_cli.data.folders import Domain
from gformer_cli.data.images import Skipped
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError
from gformer_cli.files import check_appendable, check_fillable, check_writable
from gformer_cli.seeding import derive_seed
from gformer_cli.stages.calibrate_guard import GuardCalibration
from gformer_cli.stages.meta_trainer import CONTROL, GENERATOR, MetaTrainer, SourceModels
from gformer_cli.stages.pretrain import read_source
from gformer_cli.stages.progress import Progress, Silent
from gformer_cli.stages.run_folder import RunFolder
from gformer_cli.stages.source_images import SourceImages
from gformer_cli.stages.training import make_deterministic
from gformer_cli.stages.trial import try_generating

_OTHER_IMAGES = (
    "Give the --source folders that gformer pretrain had, or run it again with --overwrite: "
    "a model must not be tested on what it was trained on."
)


@dataclass(frozen=True)
class MetaTrainResult:
    """What `meta_train` found."""

    validation: dict[str, float]
    """Accuracies on the validation episodes: `gformer`, `source`, `bn`, and `constant` where there is a control."""
    generator_parameters: int
    skipped: list[Skipped]


def meta_train(
    domains: Sequence[Domain],
    settings: Settings,
    run: RunFolder,
    *,
    device: torch.device,
    workers: int,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MetaTrainResult:
    """Train a generator on episodes from `domains` with the models of `run`; writes `run.bundle`.

    `domains` must be the ones that `run` was pretrained on. Raises `InputError` where they are not, and
    `Interrupted` after Ctrl-C, with everything kept for `resume`.
    """
    progress = progress or Silent()
    source = run.source()
    check_claim(run, resume=resume, overwrite=overwrite)
    make_deterministic(settings.seed)
    images = check_images(domains, run)
    models = SourceModels(run, source, settings, device)
    try_generating(models.full, settings, len(source.classes), device)
    loaded, skipped = read_source(domains, source.classes, settings, workers=workers, strict=strict, progress=progress)
    images.require(SourceImages.of(loaded), _OTHER_IMAGES)
    if not resume:  # an earlier bundle stays until the new one takes its place
        run.meta_train_log.unlink(missing_ok=True)
        run.drop_checkpoints()
    wanted = {GENERATOR: settings.generator}
    if settings.meta_train.control and settings.generator.kind != "constant":
        wanted[CONTROL] = control_settings(settings.generator)
    trained: dict[str, Generator] = {}
    validation: dict[str, float] = {}
    for label, described in wanted.items():
        torch.manual_seed(derive_seed(settings.seed, "generator"))
        trained[label] = build_generator(described, models.full).to(device)
        method = build_method(described, trained[label])
        trainer = MetaTrainer(
            method, models, loaded, settings, run, device, label=label, leave_one_out=source.leave_one_out
        )
        found = trainer.train(progress)
        validation |= {"constant": found["gformer"]} if label == CONTROL else found
    guard = None
    if settings.meta_train.guard_batches:
        method = build_method(settings.generator, trained[GENERATOR])
        guard = GuardCalibration(method, models, loaded, settings, device).run(progress)
    save_bundle(
        run.bundle,
        backbone=models.full,
        generator=trained[GENERATOR],
        control=trained.get(CONTROL),
        settings=settings,
        classes=source.classes,
        data=DataHeader(domains=source.domains, fingerprint=source.fingerprint),
        validation=validation,
        guard=guard,
        levels=_levels(loaded),
    )
    run.drop_checkpoints()
    return MetaTrainResult(validation, sum(p.numel() for p in trained[GENERATOR].parameters()), skipped)


def _levels(loaded: Sequence[LabelledDomain]) -> dict[Kind, tuple[float, float]]:
    """What targets with more than 8 bits are to be read by."""
    agreed = loaded[0].preprocessing.depth.common()
    return {kind: (levels.black, levels.white) for kind, levels in agreed.items()}


def check_claim(run: RunFolder, *, resume: bool, overwrite: bool) -> None:
    """Raises `InputError` where meta-training `run` would overwrite something unasked; touches nothing."""
    started = run.bundle.exists() or run.has_checkpoint(GENERATOR)
    if started and not (resume or overwrite):
        raise InputError(
            f"{run.root} has been meta-trained already, or in part",
            "Continue with --resume, train a new generator with --overwrite, or use another --run.",
        )
    if resume and run.bundle.exists() and not run.has_checkpoint(GENERATOR):
        raise InputError(f"nothing to resume: {run.bundle} is finished", "Train a new one with --overwrite.")
    check_writable(run.bundle)
    check_appendable(run.meta_train_log)
    check_fillable(run.checkpoints)


def check_images(domains: Sequence[Domain], run: RunFolder) -> SourceImages:
    """What `run` was pretrained on; raises `InputError` where `domains` or their classes differ. Reads no image."""
    source = run.source()
    before = run.images() or SourceImages.of_counts(source.fingerprint, source.domains)
    before.require_folders(domains, _OTHER_IMAGES)
    return before
