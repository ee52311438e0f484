"""`gformer pretrain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_training_plan
from gformer_cli.console import Terminal, percent, table
from gformer_cli.data.folders import Layout, find_domains


def pretrain(
    source: options.Source,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="RUN", help="Folder of the run; must be new or empty.", show_default=False),
    ],
    preset: options.Preset = None,
    set_: options.Assignments = None,
    backbone: Annotated[
        str | None, typer.Option(help="resnet18, timm:NAME, FILE.py:FUNCTION.", show_default=False)
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="default (download), none (from scratch), or a state-dict file.", show_default=False),
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Height and width in pixels.", show_default=False)] = None,
    steps: Annotated[int | None, typer.Option(help="Training steps per model.", show_default=False)] = None,
    leave_one_out: Annotated[
        bool | None,
        typer.Option(
            "--leave-one-out/--no-leave-one-out",
            help="Also train, for each domain, a model without it. Without them meta-training has only simulated "
            "shifts to learn from, which costs accuracy on real ones.",
            show_default=False,
        ),
    ] = None,
    layout: options.LayoutOption = Layout.auto,
    seed: options.Seed = None,
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
    """Train the source model, and the leave-one-domain-out models that meta-train needs.

    Example: gformer pretrain --source data/sources --out runs/site --preset quick
    """
    from gformer_cli import config

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    settings = config.resolve(
        preset=preset,
        assignments=set_ or (),
        flags={
            "backbone.name": backbone,
            "backbone.weights": weights,
            "data.image_size": image_size,
            "pretrain.steps": steps,
            "pretrain.leave_one_out": leave_one_out,
            "seed": seed,
        },
    )
    domains = find_domains(source, layout)
    terminal.details(config.to_yaml(settings))

    from gformer_cli.stages.pretrain import check_resumed, check_source, try_backbone
    from gformer_cli.stages.pretrain import pretrain as train
    from gformer_cli.stages.run_folder import RunFolder
    from gformer_cli.stages.training import pick_device, pick_workers

    where, decoders, run = pick_device(device), pick_workers(workers), RunFolder(out)
    run.check_claim(settings, resume=resume, overwrite=overwrite)
    check_resumed(domains, run, resume=resume)  # before what the folders lack: it may have come since
    classes = check_source(domains, leave_one_out=settings.pretrain.leave_one_out)
    cores = options.pick_cores(terminal, threads)
    for domain in domains:
        missing = [name for name in classes if name not in domain.classes]
        if missing:
            terminal.warning(f"domain {domain.name} has no class folder for: {', '.join(missing)}")
        if domain.ignored:
            terminal.detail(f"domain {domain.name}: {len(domain.ignored)} files without an image's suffix ignored")
    if dry_run:
        try_backbone(settings, len(classes), len(domains), where, download=False)
        labels = [f"without-{domain.name}" for domain in domains] if settings.pretrain.leave_one_out else []
        outputs = [run.settings_path, run.source_path, *(run.model_path(label) for label in ("all", *labels))]
        show_training_plan(terminal, domains, classes, settings, where, decoders, outputs)
        return
    if not settings.pretrain.leave_one_out:
        terminal.warning(
            "no leave-one-out models: meta-training will know simulated shifts only, which costs accuracy on real ones"
        )
    with terminal.progress() as progress:
        done = train(
            domains,
            settings,
            run,
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
            "run": str(out),
            "classes": done.source.classes,
            "domains": done.source.domains,
            "fingerprint": done.source.fingerprint,
            "validation_accuracy": done.accuracies,
            "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
        },
        table(
            "Accuracy on validation images of the domains a model was trained on",
            ["model", "%"],
            [[name, percent(value)] for name, value in done.accuracies.items()],
        ),
        f"\nNext: gformer meta-train {' '.join(f'--source {folder}' for folder in source)} --run {out}"
        + options.own_backbone_again(settings.backbone.name),
    )
