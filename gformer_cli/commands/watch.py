"""`gformer watch`."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options, trust
from gformer_cli.commands.found import known_of
from gformer_cli.commands.locations import STDOUT, pick_continued, pick_model
from gformer_cli.commands.prediction import Prediction
from gformer_cli.console import Terminal, amount, differing, one_line, table
from gformer_cli.errors import InputError
from gformer_cli.folders.aside import describe_aside
from gformer_cli.progress import StopRequest, stoppable
from gformer_cli.watch.options import WatchOptions

if TYPE_CHECKING:
    from gformer_cli.watch.batches import WatchResult


Folder = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="The folder in which images arrive. Each sub-folder is a domain, with batches of its own.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Predictions: .csv or .jsonl; a file that is named and there is continued. Default: predictions.csv.",
        show_default=False,
    ),
]
MaxWait = Annotated[
    float,
    typer.Option(
        "--max-wait",
        metavar="SECONDS",
        parser=options.not_negative,
        help="Predict a smaller batch when one of its images has waited so long.",
    ),
]
Settle = Annotated[
    float,
    typer.Option(
        "--settle",
        metavar="SECONDS",
        parser=options.not_negative,
        help="A file is complete when it has not changed for so long.",
    ),
]
UntilIdle = Annotated[
    float | None,
    typer.Option(
        "--until-idle",
        metavar="SECONDS",
        parser=options.not_negative,
        help="Predict what waits and end when nothing has come for so long. Default: go on until stopped.",
        show_default=False,
    ),
]
MoveTo = Annotated[
    Path | None,
    typer.Option(
        "--move-to",
        metavar="DIR",
        help="Move images here once their predictions are written. Default: leave them.",
        show_default=False,
    ),
]


def watch(
    folder: Folder,
    model: options.PredictingModel = None,
    run: options.Run = None,
    out: Out = None,
    batch_size: options.BatchSize = 64,
    max_wait: MaxWait = 10.0,
    settle: Settle = 1.0,
    until_idle: UntilIdle = None,
    move_to: MoveTo = None,
    context: options.ContextBatches = 0,
    probabilities: options.Probabilities = False,
    temperature: options.Temperature = None,
    backbone: options.OwnBackbone = None,
    white_level: options.WhiteLevel = None,
    device: options.Device = "auto",
    precision: options.PrecisionOption = options.Precision.float32,
    workers: options.Workers = None,
    threads: options.Threads = None,
    strict: options.Strict = False,
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
    """Predict what a folder holds and what comes, each image once. Needs pip install 'gformer\\[watch]'.

    It goes on until it is stopped (Ctrl-C, SIGTERM), or idle (--until-idle).
    After any end, a kill as well, the same call with the same --out goes on where it was.

    Rows are in order of arrival, with the columns of gformer adapt. Then come target (the domain),
    batch_size, bytes and modified_ns (of the image).

    Example: gformer watch incoming --out predictions.csv --move-to done

    Example: gformer watch incoming --out predictions.csv --until-idle 5
    """
    if out == STDOUT:
        raise InputError(
            "--out - does not go with watch", "What is predicted is known from the file: name one with --out."
        )
    if find_spec("watchdog") is None:
        raise InputError("gformer watch needs watchdog", "Install it: pip install 'gformer[watch]'")
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    own = backbone, white_level, temperature, device, precision.value, workers, threads
    how = Prediction(pick_model(terminal, model, run), *own)
    watched = WatchOptions(
        folder=folder,
        out=pick_continued(terminal, out),
        batch_size=batch_size,
        max_wait=max_wait,
        settle=settle,
        until_idle=until_idle,
        move_to=move_to,
        context=context,
        probabilities=probabilities,
        strict=strict,
    )
    watched.check_folders()
    trusted = trust.Trust(guard, guard_limit or [], audit, audit_append, save_parameters)
    with stoppable() as stop:  # from here on, so that a signal while the model loads ends it properly as well
        _watch(terminal, how, watched, trusted, stop, dry_run=dry_run)
    if stop.signal == signal.SIGINT:
        raise typer.Exit(130)


def _watch(
    terminal: Terminal,
    how: Prediction,
    watched: WatchOptions,
    trusted: trust.Trust,
    stop: StopRequest,
    *,
    dry_run: bool,
) -> None:
    """Check, load, watch, sum up."""
    from gformer_cli.compute.device import make_deterministic
    from gformer_cli.watch.loop import watch as stage
    from gformer_cli.watch.outputs import check_outputs, make_folders

    check_outputs(watched)
    bundle, device, workers, cores = how.load(terminal)
    bundle.check_memory(watched.batch_size, device)
    how.check_context(bundle, watched.context)
    settings = how.settings(batch_size=watched.batch_size, order="arrival", context=watched.context)
    guard, kept = trusted.prepare(terminal, bundle, how.model, device, settings, out=watched.out, continued=True)
    if dry_run:
        _show_plan(terminal, watched, kept.outputs, known_of(bundle.header).class_folders)
        return
    make_folders(watched)
    make_deterministic(0)
    with terminal.progress() as progress, kept.open() as sinks:
        done = stage(
            bundle,
            watched,
            device=device,
            workers=workers,
            cores=cores,
            stop=stop,
            guard=guard,
            obeyed=trusted.obeyed,
            precision=how.precision,
            sinks=sinks,
            progress=progress,
        )
    _sum_up(terminal, watched, trusted.mode(guard), done)


def _show_plan(terminal: Terminal, watched: WatchOptions, kept: list[Path], class_folders: set[str]) -> None:
    from gformer_cli.watch.contents import Contents, images_by_domain

    contents = Contents(watched.folder)
    present = images_by_domain(contents, class_folders)
    continues = watched.out.exists()
    terminal.result(
        {
            "dry_run": True,
            "watched": str(watched.folder),
            "present": present,
            "left_aside": contents.left_aside,
            "batch_size": watched.batch_size,
            "max_wait": watched.max_wait,
            "context": watched.context,
            "move_to": None if watched.move_to is None else str(watched.move_to),
            "outputs": [str(path) for path in (watched.out, *kept)],
            "continues": continues,
        },
        table("", ["domain", "images there"], [[one_line(k), str(v)] for k, v in sorted(present.items())]),
        f"\nWould {'continue' if continues else 'write'}: {watched.out}",
        "Dry run: nothing was touched.",
    )


def _sum_up(terminal: Terminal, watched: WatchOptions, guard: str, done: WatchResult) -> None:
    from gformer_cli.watch.ledger import skipped_file

    listed = skipped_file(watched.out)
    counts = dict(done.counts.most_common())
    terminal.result(
        {
            "out": str(watched.out),
            "watched": str(watched.folder),
            "ended_by": done.ended_by,
            "images": done.images,
            "before": done.before,
            "batches": done.batches,
            "changed": done.changed,
            "counts": counts,
            "guard": guard,
            "decisions": dict(done.decisions),
            "skipped": done.skipped,
            "unsettled": done.unsettled,
            "skipped_file": str(listed) if listed.exists() else None,
            "left_aside": done.left_aside,
        },
        *([table("Predicted labels", ["label", "images"], [[k, str(v)] for k, v in counts.items()])] if counts else []),
        f"\nEnded by {done.ended_by}: {amount(done.images, 'image', 'images')} in "
        f"{amount(done.batches, 'batch', 'batches')}, {done.before} predicted before; "
        f"{differing(done.changed)}. {watched.out}",
        *trust.counted(done.decisions),
        *([f"{amount(done.skipped, 'file', 'files')} skipped, see {listed}"] if done.skipped else []),
        *([f"not predicted, still changing: {amount(done.unsettled, 'file', 'files')}"] if done.unsettled else []),
        *([describe_aside(done.left_aside)] if done.left_aside else []),
    )
