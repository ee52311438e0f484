"""`gformer pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import caching, options, recording
from gformer_cli.commands.dry_run import show_training_plan
from gformer_cli.commands.found import SOURCE_SPLITS, find_images
from gformer_cli.commands.locations import again, pick_run
from gformer_cli.console import Terminal
from gformer_cli.folders.domains import Layout, count_suffixes
from gformer_cli.records.sinks import check_log


def pretrain(
    source: options.Source,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            "--out",
            metavar="RUN",
            help="Folder of the run; must be new or empty. Default: gformer-run.",
            show_default=False,
        ),
    ] = None,
    preset: options.Preset = None,
    set_: options.Assignments = None,
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    image_size: options.ImageSize = None,
    steps: Annotated[int | None, typer.Option(help="Most training steps per model.", show_default=False)] = None,
    leave_one_domain_out: options.LeaveOneDomainOut = None,
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
    """Train the source model, and the leave-one-domain-out models that meta-train needs.

    Example: gformer pretrain --source data/sources --preset quick
    """
    from gformer_cli import config

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    kept = caching.Cache(cache, cache_size)
    check_log(log or ())
    settings = config.resolve(
        preset=preset,
        assignments=set_ or (),
        flags={
            "backbone.name": backbone,
            "backbone.weights": weights,
            "data.image_size": image_size,
            "pretrain.steps": steps,
            "pretrain.leave_one_domain_out": leave_one_domain_out,
            "seed": seed,
        },
    )
    found = find_images(terminal, source, layout, strict=strict, splits=SOURCE_SPLITS)
    domains, left_aside = found.domains, count_suffixes(found.aside)
    folder = pick_run(terminal, run)
    terminal.details(config.to_yaml(settings))

    from gformer_cli.commands.source_model import SourceTraining, accuracies, document
    from gformer_cli.compute.device import pick_device, pick_workers
    from gformer_cli.train.run_folder import RunFolder

    where, decoders = pick_device(device), pick_workers(workers)
    training = SourceTraining(
        terminal,
        domains,
        settings,
        RunFolder(folder),
        device=where,
        workers=decoders,
        cache=kept,
        cores=options.pick_cores(terminal, threads),
        strict=strict,
        resume=resume,
        overwrite=overwrite,
        log=log or (),
    )
    classes = training.check()
    if dry_run:
        training.try_backbone(classes)
        show_training_plan(terminal, domains, classes, settings, where, decoders, training.outputs(), left_aside)
        return
    done = training.train()
    terminal.result(
        document(training.run, done) | {"left_aside": left_aside},
        accuracies(done),
        f"\nNext: gformer meta-train {options.sources_again(source)}{again(run)}"
        + options.own_backbone_again(settings.backbone.name),
    )
