"""`gformer meta-train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_training_plan
from gformer_cli.console import Terminal, percent, table
from gformer_cli.data.folders import Layout, find_domains


def meta_train(
    source: options.Source,
    run: Annotated[
        Path,
        typer.Option("--run", metavar="RUN", help="The run folder that pretrain wrote.", show_default=False),
    ],
    preset: options.Preset = None,
    set_: options.Assignments = None,
    steps: Annotated[int | None, typer.Option(help="Training steps.", show_default=False)] = None,
    backbone: options.OwnBackbone = None,
    layout: options.LayoutOption = Layout.auto,
    device: options.Device = "auto",
    workers: options.Workers = None,
    threads: options.Threads = None,
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

    Settings start from those of the run; a preset changes its generator, meta_train and shifts sections only.

    Example: gformer meta-train --source data/sources --run runs/site
    """
    from gformer_cli import config

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    domains = find_domains(source, layout)

    from gformer_cli.own_code import check_own_code
    from gformer_cli.stages.meta_train import check_claim, check_images
    from gformer_cli.stages.meta_train import meta_train as train
    from gformer_cli.stages.run_folder import RunFolder
    from gformer_cli.stages.training import pick_device, pick_workers

    folder = RunFolder(run)
    known, before = folder.source(), folder.settings()
    check_own_code(before.backbone.name, backbone, f"run {run}")
    settings = config.resolve(
        base=before,
        preset=preset,
        assignments=set_ or (),
        flags={"meta_train.steps": steps, "backbone.name": backbone},
        only=("generator", "meta_train", "shifts"),
    )
    terminal.details(config.to_yaml(settings))
    where, decoders = pick_device(device), pick_workers(workers)
    cores = options.pick_cores(terminal, threads)
    check_claim(folder, resume=resume, overwrite=overwrite)
    check_images(domains, folder)
    if dry_run:
        outputs = [folder.bundle, folder.meta_train_log]
        show_training_plan(terminal, domains, known.classes, settings, where, decoders, outputs)
        return
    if not known.leave_one_out:
        terminal.warning("the run has no leave-one-out models: episodes are simulated shifts only")
    with terminal.progress() as progress:
        done = train(
            domains,
            settings,
            folder,
            device=where,
            workers=decoders,
            cores=cores,
            strict=strict,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    terminal.skipped([(item.path, item.reason) for item in done.skipped])
    terminal.result(
        {
            "bundle": str(folder.bundle),
            "generator_parameters": done.generator_parameters,
            "validation_accuracy": done.validation,
            "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
        },
        table(
            "Accuracy on held-out source images under unseen conditions",
            ["method", "%"],
            [[name, percent(value)] for name, value in done.validation.items()],
        ),
        f"\nWrote {folder.bundle} (generator: {done.generator_parameters:,} parameters)",
        f"Next: gformer adapt --model {folder.bundle} --target DIR --out predictions.csv"
        + options.own_backbone_again(settings.backbone.name),
    )
