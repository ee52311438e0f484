"""`gformer adapt`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from gformer_cli.commands import adapt_watch, options, trust
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.console import Terminal, table
from gformer_cli.data.folders import Layout, find_domains


class Order(str, Enum):
    """In which order images form batches."""

    shuffle = "shuffle"
    name = "name"


def adapt(
    context: typer.Context,
    model: options.Model,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Predictions: .csv or .jsonl.", show_default=False)
    ],
    target: Annotated[
        list[Path] | None,
        typer.Option(
            "--target",
            metavar="DIR",
            help="Images of one unseen condition (a flat folder or class folders, whose names are not read), or a "
            "root of such domains. Repeatable.",
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

    Example: gformer adapt --model runs/site/model.gformer --target incoming --out predictions.csv
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    adapt_watch.check_choice(context, target, watch)
    trusted = trust.Trust(guard, guard_limit or [], audit, audit_append, save_parameters)
    if watch is not None:
        request = adapt_watch.Request(
            model=model,
            backbone=backbone,
            white_level=white_level,
            folder=watch,
            out=out,
            batch_size=batch_size,
            max_wait=max_wait,
            settle=settle,
            move_to=move_to,
            context=context_batches,
            until_idle=until_idle,
            trust=trusted,
            probabilities=probabilities,
            strict=strict,
            device=device,
            precision=precision.value,
            workers=workers,
            threads=threads,
        )
        adapt_watch.watch_folder(terminal, request, dry_run=dry_run)
        return
    assert target is not None
    domains = find_domains(target, layout, unlabelled=True)

    from gformer_cli.bundle import load_bundle
    from gformer_cli.files import make_folder
    from gformer_cli.report.page.files import check_report, write_report
    from gformer_cli.stages import adapt as stage
    from gformer_cli.stages.targets import check_batch_size
    from gformer_cli.stages.training import make_deterministic, pick_device, pick_workers

    check_batch_size(batch_size)
    stage.check_output(out, overwrite=overwrite)
    if report is not None:
        check_report(report, overwrite=overwrite)
    where, decoders = pick_device(device), pick_workers(workers)
    cores = options.pick_cores(terminal, threads)
    bundle = load_bundle(model, own_backbone=backbone, white_level=white_level)
    bundle.check_memory(min(batch_size, max(len(domain.files) for domain in domains)), where)
    settings: dict[str, Any] = {"batch_size": batch_size, "order": order.value, "seed": seed or 0}
    settings |= {"precision": precision.value} | ({} if white_level is None else {"white_level": white_level})
    rule, kept = trusted.prepare(terminal, bundle, model, where, settings, out=out, overwrite=overwrite)
    if dry_run:
        choices: dict[str, object] = {"batch_size": batch_size, "order": order.value, "guard": guard.value}
        show_prediction_plan(
            terminal, domains, where, decoders, [out, *kept.outputs, *([report] if report else [])], choices
        )
        return
    make_folder(out.parent)
    make_deterministic(seed or 0)
    sample = None if report is None else stage.Sample(bundle.header.classes)
    with stage.held(out) as ours, terminal.progress() as progress, kept.open() as sinks:
        done = stage.adapt(
            bundle,
            domains,
            batch_size=batch_size,
            order=order.value,
            seed=seed or 0,
            device=where,
            workers=decoders,
            cores=cores,
            strict=strict,
            guard=rule,
            obeyed=trusted.obeyed,
            precision=precision.value,
            sinks=[*sinks, *([sample] if sample is not None else [])],
            progress=progress,
        )
        if not ours:  # a file may have come meanwhile
            stage.check_output(out, overwrite=overwrite)
        stage.write_rows(
            out, done.rows, bundle.header.classes, probabilities=probabilities, name_targets=len(domains) > 1
        )
    if report is not None and sample is not None:
        from gformer_cli.bundle import library_versions
        from gformer_cli.report.page.adaptation import adaptation_page
        from gformer_cli.stages.evaluate.records import describe_bundle

        made = {"command": options.command_line(), **settings, "guard": trusted.mode(rule), "device": str(where)}
        write_report(report, adaptation_page(sample, describe_bundle(model, bundle), made, library_versions()))
    terminal.skipped([(item.path, item.reason) for item in done.skipped])
    overflown = sum(stage.OVERFLOW in verdict.reasons for _, _, verdict in done.flagged)
    if overflown:
        terminal.warning(
            f"what was generated gives no finite numbers for {overflown} of {done.batches} batches; "
            "the source model's answers are written"
        )
    if len(done.flagged) > overflown:
        terminal.warning(
            f"the guard does not trust what was generated for {len(done.flagged) - overflown} of {done.batches} batches"
            + ("; with --guard warn they are predicted with it all the same" if not trusted.obeyed else "")
        )
    if done.flagged:
        terminal.listed(
            [f"{target}, batch {number}: {trust.told(verdict)}" for number, target, verdict in done.flagged]
        )
    terminal.result(
        {
            "out": str(out),
            "images": len(done.rows),
            "batches": done.batches,
            "changed": done.changed,
            "counts": done.counts(),
            "guard": trusted.mode(rule),
            "decisions": done.decisions,
            "flagged": [
                {
                    "batch": number,
                    "target": target,
                    "decision": verdict.decision,
                    "share": verdict.share,
                    "reasons": list(verdict.reasons),
                    "signals": verdict.signals,
                }
                for number, target, verdict in done.flagged
            ],
            "levels": done.levels,
            "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
        },
        table("Predicted labels", ["label", "images"], [[k, str(v)] for k, v in done.counts().items()]),
        f"\n{len(done.rows)} images in {done.batches} batches; "
        f"{done.changed} labels differ from the source model's. Wrote {out}"
        + (f" and {report}" if report is not None else ""),
        *trust.counted(done.decisions),
    )
