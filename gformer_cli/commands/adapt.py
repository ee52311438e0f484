"""`gformer adapt`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.console import Terminal, table
from gformer_cli.data.folders import Layout, find_domains

if TYPE_CHECKING:
    from gformer_cli.core.guard import Verdict


class GuardMode(str, Enum):
    """What the guard may do."""

    off = "off"
    warn = "warn"
    on = "on"


class Order(str, Enum):
    """In which order images form batches."""

    shuffle = "shuffle"
    name = "name"


def adapt(
    model: options.Model,
    target: Annotated[
        list[Path],
        typer.Option(
            "--target",
            metavar="DIR",
            help="Images of one unseen condition (a flat folder or class folders, whose names are not read), or a "
            "root of such domains. Repeatable.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Predictions: .csv or .jsonl.", show_default=False)
    ],
    batch_size: options.BatchSize = 64,
    order: Annotated[
        Order,
        typer.Option(help="shuffle mixes the images (repeatably); name keeps the order of arrival."),
    ] = Order.shuffle,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Add one column per class.")] = False,
    guard: Annotated[
        GuardMode,
        typer.Option(
            help="on leaves a batch that generated parameters may harm to the source model, in part or in whole; "
            "warn decides and says so, but predicts as generated; off does not look."
        ),
    ] = GuardMode.on,
    guard_limit: Annotated[
        list[str] | None,
        typer.Option(
            "--guard-limit",
            metavar="NAME=VALUE",
            help="Another threshold for the guard than the calibrated one; gformer inspect lists them. Repeatable.",
            show_default=False,
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            "--audit",
            metavar="FILE",
            help="Append one line a batch to this log (.jsonl): see gformer audit.",
            show_default=False,
        ),
    ] = None,
    audit_append: Annotated[
        bool, typer.Option("--audit-append", help="Continue a log that another bundle or other settings wrote.")
    ] = False,
    save_parameters: Annotated[
        Path | None,
        typer.Option(
            "--save-parameters",
            metavar="DIR",
            help="Keep the parameters of each batch, one safetensors file each.",
            show_default=False,
        ),
    ] = None,
    backbone: options.OwnBackbone = None,
    layout: options.LayoutOption = Layout.auto,
    seed: options.Seed = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Predict every readable image of a folder, generating parameters for each batch. Needs no labels.

    Rows are in name order: path, label, confidence, batch, source_label (the unadapted model's answer), decision
    (the guard's: generated, blended or source).

    Example: gformer adapt --model runs/site/model.gformer --target incoming --out predictions.csv
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    domains = find_domains(target, layout, unlabelled=True)

    from gformer_cli.bundle import load_bundle
    from gformer_cli.files import make_folder
    from gformer_cli.stages import adapt as stage
    from gformer_cli.stages.audit.sinks import plan_sinks
    from gformer_cli.stages.targets import check_batch_size
    from gformer_cli.stages.training import make_deterministic, pick_device, pick_workers

    check_batch_size(batch_size)
    stage.check_output(out, overwrite=overwrite)
    where, threads = pick_device(device), pick_workers(workers)
    bundle = load_bundle(model, own_backbone=backbone)
    rule = stage.choose_guard(bundle, wanted=guard is not GuardMode.off, limits=guard_limit or ())
    kept = plan_sinks(
        bundle,
        model,
        where,
        {
            "batch_size": batch_size,
            "order": order.value,
            "seed": seed or 0,
            "guard": guard.value,
            "guard_limits": [*sorted(guard_limit or ())],
        },
        audit=audit,
        append=audit_append,
        parameters=save_parameters,
        overwrite=overwrite,
        others=[out],
    )
    if dry_run:
        choices: dict[str, object] = {"batch_size": batch_size, "order": order.value, "guard": guard.value}
        show_prediction_plan(terminal, domains, where, threads, [out, *kept.outputs], choices)
        return
    if rule is None and guard is not GuardMode.off and bundle.header.static is None:
        terminal.warning("the bundle holds no calibrated guard, so every batch is predicted as generated")
    make_folder(out.parent)
    make_deterministic(seed or 0)
    with terminal.progress() as progress, kept.open() as sinks:
        done = stage.adapt(
            bundle,
            domains,
            batch_size=batch_size,
            order=order.value,
            seed=seed or 0,
            device=where,
            workers=threads,
            strict=strict,
            guard=rule,
            obeyed=guard is GuardMode.on,
            sinks=sinks,
            progress=progress,
        )
    stage.write_rows(out, done.rows, bundle.header.classes, probabilities=probabilities, name_targets=len(domains) > 1)
    terminal.skipped([(item.path, item.reason) for item in done.skipped])
    if done.flagged:
        terminal.warning(
            f"the guard does not trust what was generated for {len(done.flagged)} of {done.batches} batches"
            + ("; with --guard warn they are predicted with it all the same" if guard is GuardMode.warn else "")
        )
        terminal.listed([f"{target}, batch {number}: {_told(verdict)}" for number, target, verdict in done.flagged])
    terminal.result(
        {
            "out": str(out),
            "images": len(done.rows),
            "batches": done.batches,
            "changed": done.changed,
            "counts": done.counts(),
            "guard": guard.value if rule is not None else GuardMode.off.value,
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
            "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
        },
        table("Predicted labels", ["label", "images"], [[k, str(v)] for k, v in done.counts().items()]),
        f"\n{len(done.rows)} images in {done.batches} batches; "
        f"{done.changed} labels differ from the source model's. Wrote {out}",
        *([f"Guard: {', '.join(f'{count} {name}' for name, count in done.decisions.items())}"] if rule else []),
    )


def _told(verdict: Verdict) -> str:
    share = f" ({verdict.share:.0%} generated)" if 0.0 < verdict.share < 1.0 else ""
    return f"{verdict.decision}{share}, because of {', '.join(verdict.reasons)}"
