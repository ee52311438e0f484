"""`gformer adapt`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gformer_cli.commands import options, trust
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.commands.found import known_of
from gformer_cli.commands.guessed import Guessed, guessed
from gformer_cli.commands.locations import STDOUT, pick_model, pick_predictions
from gformer_cli.commands.picking import PickImages, Picking, PickOut
from gformer_cli.commands.prediction import Prediction
from gformer_cli.commands.targets import check_targets, find_targets
from gformer_cli.compute.launched import seat
from gformer_cli.console import Terminal, amount, differing, table
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Layout, count_suffixes

if TYPE_CHECKING:
    from gformer_cli.adapt import AdaptResult, Pick, Sample
    from gformer_cli.bundle import Described


class Order(str, Enum):
    """In which order images form batches."""

    shuffle = "shuffle"
    name = "name"


Targets = Annotated[
    list[Path] | None,
    typer.Option(
        "--target",
        metavar="DIR",
        help="Images of one unseen condition (a flat folder or class folders, whose names are not read), or a "
        "root of such domains; a table (.csv, .parquet), a list (.txt) or shards ('NAME-{000..127}.tar'); - reads a "
        "list of files from stdin, one a line. Repeatable.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Predictions: .csv or .jsonl; - writes CSV to stdout. Default: predictions.csv.",
        show_default=False,
    ),
]
OrderOption = Annotated[
    Order, typer.Option(help="shuffle mixes the images (repeatably); name keeps the order of arrival.")
]


@dataclass(frozen=True)
class _Job:
    """What is predicted, and where to."""

    targets: Sequence[Path]
    layout: Layout
    out: Path
    report: Path | None
    batch_size: int
    order: str
    seed: int
    context: int
    probabilities: bool
    strict: bool
    overwrite: bool
    picking: Picking


def adapt(
    target: Targets = None,
    model: options.PredictingModel = None,
    run: options.Run = None,
    out: Out = None,
    batch_size: options.BatchSize = 64,
    order: OrderOption = Order.shuffle,
    context: options.ContextBatches = 0,
    probabilities: options.Probabilities = False,
    temperature: options.Temperature = None,
    pick: PickImages = None,
    pick_out: PickOut = None,
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
    guard: trust.GuardOption = trust.GuardMode.on,
    guard_limit: trust.GuardLimits = None,
    audit: trust.Audit = None,
    audit_append: trust.AuditAppend = False,
    save_parameters: trust.SaveParameters = None,
) -> None:
    """Predict every readable image of a folder, generating parameters for each batch. Needs no labels.

    Rows are in name order: path, label, confidence, batch, source_label (the unadapted model's answer), decision
    (the guard's: generated, blended or source). For a folder that fills there is gformer watch.

    Example: gformer adapt --target incoming

    Example: gformer adapt --target incoming --pick 50

    Example: find incoming -name '*.jpg' | gformer adapt --target - --out - | cut -d, -f1,2
    """
    if not target:
        raise InputError("no images are named", "Give --target DIR. For a folder that fills: gformer watch DIR")
    if out == STDOUT and json:
        raise InputError("--out - and --json both want stdout", "Name a file with --out, or leave out --json.")
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose, aside=out == STDOUT)
    own = backbone, white_level, temperature, device, precision.value, workers, threads
    how = Prediction(pick_model(terminal, model, run), *own)
    predictions = pick_predictions(terminal, out)
    job = _Job(
        targets=target,
        layout=layout,
        out=predictions,
        report=report,
        batch_size=batch_size,
        order=order.value,
        seed=seed or 0,
        context=context,
        probabilities=probabilities,
        strict=strict,
        overwrite=overwrite,
        picking=Picking.of(terminal, pick, pick_out, predictions, seed or 0),
    )
    _check_shared(context=context, audit=audit, save_parameters=save_parameters, report=report)
    trusted = trust.Trust(guard, guard_limit or [], audit, audit_append, save_parameters)
    _predict(terminal, how, job, trusted, dry_run=dry_run)


def _predict(terminal: Terminal, how: Prediction, job: _Job, trusted: trust.Trust, *, dry_run: bool) -> None:
    """Check, load, predict, write, sum up."""
    check_targets(job.targets)

    from gformer_cli import adapt as stage
    from gformer_cli.compute import ranks
    from gformer_cli.compute.device import make_deterministic
    from gformer_cli.core.estimators import AETTA

    if ranks.first():
        _check_outputs(job)
    bundle, device, workers, cores = how.load(terminal)
    classes = bundle.header.classes
    known = known_of(bundle.header)
    found = find_targets(terminal, job.targets, job.layout, known, strict=job.strict)
    domains, left_aside = found.domains, count_suffixes(found.aside)
    bundle.check_memory(min(job.batch_size, max(len(domain.files) for domain in domains)), device)
    how.check_context(bundle, job.context)
    remembered = {"context": job.context} if job.context else {}
    settings = how.settings(batch_size=job.batch_size, order=job.order, seed=job.seed, **remembered)
    guard, kept = trusted.prepare(terminal, bundle, how.model, device, settings, out=job.out, overwrite=job.overwrite)
    if dry_run:
        outputs = [job.out, *job.picking.outputs, *kept.outputs, *([job.report] if job.report else [])]
        choices = {"batch_size": job.batch_size, "order": job.order, "guard": trusted.guard.value, **remembered}
        show_prediction_plan(terminal, domains, device, workers, outputs, choices, left_aside)
        return
    make_deterministic(job.seed)
    sample = None if job.report is None else stage.Sample(classes)
    estimator = stage.choose(bundle)
    estimates = None if estimator is None else stage.Estimates(estimator)
    pickers = job.picking.sinks(classes)
    with (
        stage.reserved(job.out if job.out != STDOUT and ranks.first() else None) as ours,
        terminal.progress() as progress,
        kept.open() as sinks,
    ):
        done = stage.adapt(
            bundle,
            domains,
            batch_size=job.batch_size,
            order=job.order,
            seed=job.seed,
            context=job.context,
            device=device,
            workers=workers,
            cores=cores,
            strict=job.strict,
            guard=guard,
            obeyed=trusted.obeyed,
            precision=how.precision,
            rows=stage.Rows(None if job.out == STDOUT else job.out.parent, probabilities=job.probabilities),
            sinks=[*sinks, *(sink for sink in (sample, estimates) if sink is not None), *pickers],
            dropping=estimator == AETTA,
            progress=progress,
        )
        told = guessed(stage.Estimates.together(ranks.to_first(estimates)), said=how.temperature is not None)
        pools = [pool for picker in pickers for pool in ranks.to_first(picker.pool)]
        if not ranks.first():
            return
        if not ours:  # a file may have come meanwhile
            stage.check_output(job.out, overwrite=job.overwrite)
        _write(terminal, job, classes, done, name_targets=len(domains) > 1)
        picks = job.picking.finish(pools, name_targets=len(domains) > 1)
    if job.report is not None and sample is not None:
        made = {"command": options.command_line(), **settings, "guard": trusted.mode(guard), "device": str(device)}
        made |= {} if told.estimator is None else {"accuracy_guessed_by": told.estimator}
        _write_page(job.report, sample, told, bundle, how.model, made)
    _tell_doubts(terminal, trusted, done)
    _sum_up(terminal, how.model, job, trusted.mode(guard), done, left_aside, picks, told)


def _check_shared(**options: object) -> None:
    """Raises `InputError` where several processes are to share the batches, and one has to see them all, in order."""
    for name, value in options.items():
        if value and seat().size > 1:
            raise InputError(
                f"--{name.replace('_', '-')} wants every batch in one process, one after another, and torchrun has "
                f"started {seat().size}",
                "Leave it out, or run gformer adapt by itself.",
            )


def _check_outputs(job: _Job) -> None:
    from gformer_cli import adapt as stage
    from gformer_cli.folders.targets import check_batch_size
    from gformer_cli.report.page.files import check_report
    from gformer_cli.stdio import check_open

    check_batch_size(job.batch_size)
    if job.out == STDOUT:
        check_open()
    else:
        stage.check_output(job.out, overwrite=job.overwrite)
    job.picking.check(job.out, overwrite=job.overwrite)
    if job.report is not None:
        check_report(job.report, overwrite=job.overwrite)


def _write(terminal: Terminal, job: _Job, classes: list[str], done: AdaptResult, *, name_targets: bool) -> None:
    from gformer_cli import adapt as stage

    shown = {"probabilities": job.probabilities, "name_targets": name_targets}
    if job.out == STDOUT:
        with terminal.stream() as file:
            stage.write_csv(file, done.rows, classes, **shown)
    else:
        stage.write_rows(job.out, done.rows, classes, **shown)


def _write_page(
    page: Path,
    sample: Sample,
    told: Guessed,
    bundle: Described,
    model: Path,
    made: dict[str, Any],
) -> None:
    from gformer_cli.bundle import library_versions
    from gformer_cli.evaluate.records import describe_bundle
    from gformer_cli.report.page.adaptation import adaptation_page
    from gformer_cli.report.page.files import write_report

    write_report(page, adaptation_page(sample, told.targets, describe_bundle(model, bundle), made, library_versions()))


def _tell_doubts(terminal: Terminal, trusted: trust.Trust, done: AdaptResult) -> None:
    """Warn of what was skipped, and of batches that the guard does not trust."""
    from gformer_cli import adapt as stage

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


def _sum_up(
    terminal: Terminal,
    model: Path,
    job: _Job,
    guard: str,
    done: AdaptResult,
    left_aside: dict[str, int],
    picks: Sequence[Pick],
    told: Guessed,
) -> None:
    flagged = [
        {
            "batch": number,
            "target": target,
            "decision": verdict.decision,
            "share": verdict.share,
            "reasons": list(verdict.reasons),
            "signals": verdict.signals,
        }
        for number, target, verdict in done.flagged
    ]
    wrote = "" if job.out == STDOUT else f". Wrote {job.out}"
    page = f"{' and' if wrote else '. Wrote'} {job.report}" if job.report is not None else ""
    terminal.result(
        {
            "model": str(model),
            "out": str(job.out),
            "images": len(done.rows),
            "batches": done.batches,
            "changed": done.changed,
            "counts": done.counts(),
            "guard": guard,
            "decisions": done.decisions,
            "estimates": told.to_json(),
            "flagged": flagged,
            "levels": done.levels,
            "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
            "left_aside": left_aside,
            **job.picking.to_json(picks),
        },
        table("Predicted labels", ["label", "images"], [[k, str(v)] for k, v in done.counts().items()]),
        f"\n{amount(len(done.rows), 'image', 'images')} in {amount(done.batches, 'batch', 'batches')}; "
        f"{differing(done.changed)}{wrote}{page}",
        *trust.counted(done.decisions),
        *told.told(),
        *job.picking.told(picks),
    )
