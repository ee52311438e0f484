"""`gformer adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import adapt_folder, adapt_watch, options, trust
from gformer_cli.commands.adapt_folder import Order
from gformer_cli.commands.adapt_request import Request
from gformer_cli.commands.locations import STDOUT, pick_model, pick_predictions
from gformer_cli.console import Terminal
from gformer_cli.folders.domains import Layout


def adapt(
    context: typer.Context,
    target: Annotated[
        list[Path] | None,
        typer.Option(
            "--target",
            metavar="DIR",
            help="Images of one unseen condition (a flat folder or class folders, whose names are not read), or a "
            "root of such domains; - reads a list of files from stdin, one a line. Repeatable.",
            show_default=False,
        ),
    ] = None,
    model: options.Model = None,
    run: options.Run = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Predictions: .csv or .jsonl; - writes CSV to stdout. Default: predictions.csv.",
            show_default=False,
        ),
    ] = None,
    batch_size: options.BatchSize = 64,
    order: Annotated[
        Order,
        typer.Option(help="shuffle mixes the images (repeatably); name keeps the order of arrival."),
    ] = Order.shuffle,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add one column per class.")] = False,
    report: options.Report = None,
    backbone: options.OwnBackbone = None,
    white_level: options.WhiteLevel = None,
    layout: options.LayoutOption = Layout.auto,
    seed: options.Seed = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.float32,
    workers: options.Workers = None,
    threads: options.Threads = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
    watch: adapt_watch.Watch = None,
    max_wait: adapt_watch.MaxWait = 10.0,
    settle: adapt_watch.Settle = 1.0,
    move_to: adapt_watch.MoveTo = None,
    context_batches: adapt_watch.ContextBatches = 0,
    until_idle: adapt_watch.UntilIdle = None,
    guard: trust.GuardOption = trust.GuardMode.on,
    guard_limit: trust.GuardLimits = None,
    audit: trust.Audit = None,
    audit_append: trust.AuditAppend = False,
    save_parameters: trust.SaveParameters = None,
) -> None:
    """Predict every readable image of a folder, generating parameters for each batch. Needs no labels.

    Rows are in name order: path, label, confidence, batch, source_label (the unadapted model's answer), decision
    (the guard's: generated, blended or source). With --watch they are in order of arrival, and the file is continued
    by the next call.

    Example: gformer adapt --target incoming

    Example: find incoming -name '*.jpg' | gformer adapt --target - --out - | cut -d, -f1,2
    """
    adapt_watch.check_choice(context, target, watch)
    if out == STDOUT:
        adapt_folder.check_stdout(as_json=json, watched=watch is not None)
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose, aside=out == STDOUT)
    request = Request(
        model=pick_model(terminal, model, run),
        backbone=backbone,
        white_level=white_level,
        out=pick_predictions(terminal, out, watched=watch is not None),
        batch_size=batch_size,
        trust=trust.Trust(guard, guard_limit or [], audit, audit_append, save_parameters),
        probabilities=probabilities,
        strict=strict,
        device=device,
        precision=precision.value,
        workers=workers,
        threads=threads,
    )
    if watch is not None:
        watched = adapt_watch.Watched(watch, max_wait, settle, move_to, context_batches, until_idle)
        adapt_watch.watch_folder(terminal, request, watched, dry_run=dry_run)
        return
    folders = adapt_folder.Folders(target or [], order.value, report, layout, seed or 0, overwrite)
    adapt_folder.predict_folders(terminal, request, folders, dry_run=dry_run)
