"""`gformer meta-train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gformer_cli.commands import caching, options, recording
from gformer_cli.commands import meta_train_options as own
from gformer_cli.commands.dry_run import show_training_plan
from gformer_cli.commands.found import SOURCE_SPLITS, find_images
from gformer_cli.commands.locations import again, pick_run
from gformer_cli.commands.meta_train_start import begun_with, with_start
from gformer_cli.commands.several_runs import by_run, meta_train_several
from gformer_cli.console import Terminal, percent, table
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Known, Layout, check_folders_exist, count_suffixes
from gformer_cli.records.sinks import check_log

if TYPE_CHECKING:
    from gformer_cli.commands.source_model import SourceTraining
    from gformer_cli.records.sinks import Picture
    from gformer_cli.settings import Settings
    from gformer_cli.train.examples import Example
    from gformer_cli.train.meta_train import MetaTrainResult
    from gformer_cli.train.pretrain import PretrainResult
    from gformer_cli.train.run_folder import Imported, RunFolder

_NETWORK = "backbone.name"
_SHOWN = 8
"""Adapted images in the records."""


def meta_train(
    context: typer.Context,
    source: options.Source,
    run: own.Runs = None,
    out: own.Out = None,
    start: own.Start = None,
    preset: options.Preset = None,
    set_: options.Assignments = None,
    steps: own.Steps = None,
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    image_size: options.ImageSize = None,
    leave_one_out: options.LeaveOneDomainOut = None,
    leave_one_domain_out: options.Copies = None,
    class_map: options.ClassMap = None,
    layout: options.LayoutOption = Layout.auto,
    seed: options.Seed = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
    cache: caching.Folder = None,
    cache_size: caching.Size = None,
    threads: options.Threads = None,
    log: recording.Logs = None,
    strict: options.Strict = False,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Meta-learn the generator in simulated tests on the source images; writes RUN/model.gformer.

    Where RUN holds no source model yet, it is trained first, as gformer pretrain does with the same settings. Where
    there is one, trained or imported, it has fixed most settings: a preset changes its generator, meta_train and shifts
    sections only. An imported model is never trained.

    Several runs, pretrained each, teach one generator: networks, classes and images may differ. What is learnt is
    written to a file of its own, and no run changes.

    Examples: gformer meta-train --source data/sources, or gformer meta-train --run A --source data/a --run B --source
    data/b --out both.safetensors
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    kept = caching.Cache(cache, cache_size)
    check_log(log or ())
    if len(run or ()) > 1:
        meta_train_several(
            terminal,
            by_run(context, run or (), source),
            out,
            {
                "--backbone": backbone,
                "--weights": weights,
                "--image-size": image_size,
                "--leave-one-out": leave_one_out,
                "--leave-one-domain-out": leave_one_domain_out,
                "--class-map": class_map,
                "--log": log,
            },
            preset=preset,
            assignments=set_ or (),
            flags={"seed": seed, "meta_train.steps": steps, "meta_train.start": start},
            layout=layout,
            device=device,
            workers=workers,
            cache=kept,
            cores=options.pick_cores(terminal, threads),
            strict=strict,
            resume=resume,
            overwrite=overwrite,
            dry_run=dry_run,
        )
        return
    if out is not None:
        raise InputError(
            "--out is for several runs: what one run has taught is in its bundle, RUN/model.gformer",
            "Leave it out. A bundle is taken wherever a generator file is: gformer import --generator BUNDLE.",
        )
    check_folders_exist(source)
    from gformer_cli.commands.source_model import SourceTraining
    from gformer_cli.compute.device import pick_device, pick_workers
    from gformer_cli.train.run_folder import RunFolder

    folder = RunFolder(pick_run(terminal, run[0] if run else None))
    first = not folder.pretrained
    before = None if first and (overwrite or not folder.started) else _fixed(folder, backbone, set_ or ())
    flags = {
        _NETWORK: backbone,
        "backbone.weights": weights,
        "data.image_size": image_size,
        "pretrain.leave_one_domain_out": leave_one_out,
        "seed": seed,
        "meta_train.steps": steps,
        "meta_train.start": start,
        "meta_train.leave_one_domain_out": leave_one_domain_out,
    }
    settings = _resolved(terminal, folder, before, preset, set_ or (), flags, resume=resume)
    imported = folder.imported()
    source_data = None if first else folder.source()
    classes_of = _class_map(imported, class_map)
    known = Known() if source_data is None else Known(source_data.classes, source_data.domains, classes_of)
    found = find_images(
        terminal,
        source,
        layout,
        strict=strict,
        known=known,
        unlabelled=imported is not None,
        splits=SOURCE_SPLITS,
    )
    training = SourceTraining(
        terminal,
        found.domains,
        before or settings,
        folder,
        device=pick_device(device),
        workers=pick_workers(workers),
        cache=kept,
        cores=options.pick_cores(terminal, threads),
        strict=strict,
        resume=resume,
        overwrite=overwrite,
        log=log or (),
    )
    known_now = None if imported is None else imported.model_copy(update={"class_map": classes_of})
    _go(
        training,
        settings,
        known_now,
        count_suffixes(found.aside),
        begun=before is not None,
        first=first,
        dry_run=dry_run,
    )


def _resolved(
    terminal: Terminal,
    folder: RunFolder,
    before: Settings | None,
    preset: str | None,
    assignments: Sequence[str],
    flags: Mapping[str, Any],
    *,
    resume: bool,
) -> Settings:
    """What the run is trained by: what it was started with, if it was, and what may be changed of that."""
    from gformer_cli import config
    from gformer_cli.train.meta_trainer import GENERATOR

    only = _changeable(folder) if before is not None else None
    settings = config.resolve(base=before, preset=preset, assignments=assignments, flags=flags, only=only)
    begun = None
    if resume:  # what was begun with its source model was begun with what the run's settings say
        unfinished = before is not None and not folder.pretrained
        begun = before.meta_train.start if before and unfinished else begun_with(folder.checkpoint(GENERATOR))
    settings = with_start(
        terminal, settings, preset=preset, assignments=assignments, flag=flags["meta_train.start"], begun=begun
    )
    terminal.details(config.to_yaml(settings))
    return settings


def _go(
    training: SourceTraining,
    settings: Settings,
    imported: Imported | None,
    left_aside: Mapping[str, int],
    *,
    begun: bool,
    first: bool,
    dry_run: bool,
) -> None:
    """Train the source model `first`, where it is wanted, and the generator; or show what would happen."""
    terminal, domains, folder = training.terminal, training.domains, training.run
    classes = training.check() if first else _check(training, settings)
    if first:
        state = "No finished source model" if begun else "No source model"
        terminal.message(f"{state} in {folder.root}: it is trained first, as gformer pretrain does")
    if dry_run:
        if first:
            training.try_backbone(classes)
        outputs = [*(training.outputs() if first else []), folder.bundle, folder.meta_train_log]
        show_training_plan(terminal, domains, classes, settings, training.device, training.workers, outputs, left_aside)
        return
    pretrained = training.train() if first else None
    if imported is not None:  # what was said of folders now holds for the bundle's targets as well
        from gformer_cli.compute import ranks

        ranks.from_first(lambda: folder.write_imported(imported))
    done = _train(training, settings)
    unlabelled = any(not domain.classes for domain in domains)
    _show(terminal, folder, done, pretrained, left_aside, settings.backbone.name, unlabelled=unlabelled)


def _fixed(folder: RunFolder, backbone: str | None, assignments: Sequence[str]) -> Settings:
    """The settings that the run was started with; own code of its network under the name that it has now."""
    from gformer_cli.networks.own_code import check_own_code, own_code

    settings = folder.settings()
    if not own_code(settings.backbone.name):
        return settings
    named = [text.partition("=")[2].strip() for text in assignments if text.partition("=")[0].strip() == _NETWORK]
    name = check_own_code(settings.backbone.name, backbone or (named[-1] if named else None), f"run {folder.root}")
    return settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"name": name})})


def _class_map(imported: Imported | None, given: Path | None) -> dict[str, str]:
    """The class of folders that are not named after it: as it was said at the import, and now."""
    if imported is None:
        if given is not None:
            raise InputError("--class-map is for imported models", "Name the folders after their classes.")
        return {}
    return {**imported.class_map, **options.read_class_map(given, imported.classes)}


def _changeable(folder: RunFolder) -> tuple[str, ...]:
    """The sections of settings that the source model has not fixed."""
    sections = ("generator", "meta_train", "shifts")
    # nothing was drawn yet for an imported model, and its copies are still to be trained
    return (*sections, "pretrain", "seed") if folder.imported() is not None else sections


def _check(training: SourceTraining, settings: Settings) -> list[str]:
    """The classes of a run that is pretrained; raises `InputError` for what the stage would refuse."""
    from gformer_cli.train.meta_train import check_claim, check_images

    check_claim(training.run, resume=training.resume, overwrite=training.overwrite)
    check_images(training.domains, training.run, settings)
    known = training.run.source()
    imported = training.run.imported() is not None
    if not (settings.meta_train.leave_one_domain_out if imported else known.leave_one_domain_out):
        able = imported and len(training.domains) > 1
        training.terminal.warning(
            "the run has no leave-one-domain-out models: episodes are simulated shifts only, which costs accuracy on "
            "real ones" + (" (--leave-one-domain-out N makes such models)" if able else "")
        )
    return list(known.classes)


def _train(training: SourceTraining, settings: Settings) -> MetaTrainResult:
    from gformer_cli.train.meta_train import meta_train as train

    own = training.run.root, settings, lambda: training.run.meta_train_log, training.log
    with (
        training.terminal.progress() as shown,
        recording.recorded(shown, "meta-train", *own, resumed=training.resume) as (progress, show),
    ):
        done = train(
            training.domains,
            settings,
            training.run,
            device=training.device,
            workers=training.workers,
            store=training.cache.open(),
            cores=training.cores,
            strict=training.strict,
            resume=training.resume,
            overwrite=training.overwrite,
            examples=_SHOWN if training.log else 0,
            progress=progress,
        )
        show([_picture(example) for example in done.examples])
    training.terminal.skipped([(item.path, item.reason) for item in done.skipped])
    return done


def _picture(example: Example) -> Picture:
    from gformer_cli.records.sinks import Picture

    said = f"{example.label}: source {example.source}, adapted {example.adapted}"
    return Picture(example.pixels, said)


def _show(
    terminal: Terminal,
    folder: RunFolder,
    done: MetaTrainResult,
    pretrained: PretrainResult | None,
    left_aside: Mapping[str, int],
    network: str,
    *,
    unlabelled: bool,
) -> None:
    from gformer_cli.commands.source_model import accuracies, document

    if done.validation["gformer"] < done.validation["source"]:
        terminal.warning(
            "on these images adapting is worse than the source model as it is: train longer, with more domains, or do "
            "not adapt"
        )
    what = "Agreement with the model's answers to clean images" if unlabelled else "Accuracy"
    terminal.result(
        {
            "bundle": str(folder.bundle),
            "generator_parameters": done.generator_parameters,
            "validation_accuracy": done.validation,
            "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
            "left_aside": dict(left_aside),
            "pretrained": None if pretrained is None else document(folder, pretrained),
        },
        *([] if pretrained is None else [accuracies(pretrained), ""]),
        table(
            f"{what} on held-out source images under unseen conditions",
            ["method", "%"],
            [[name, percent(value)] for name, value in done.validation.items()],
        ),
        f"\nWrote {folder.bundle} (generator: {done.generator_parameters:,} parameters)",
        f"Next: gformer adapt --target DIR{again(folder.root)}" + options.own_backbone_again(network),
    )
