"""`gformer adapt --watch`: what the command does for a folder that fills."""

from __future__ import annotations

import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gformer_cli.commands.adapt_request import Request
from gformer_cli.commands.options import not_negative, pick_cores
from gformer_cli.commands.trust import counted
from gformer_cli.console import Terminal, one_line, table
from gformer_cli.errors import InputError
from gformer_cli.folders.aside import describe_aside
from gformer_cli.progress import StopRequest, stoppable

PANEL = "Folders that fill (--watch)"

Watch = Annotated[
    Path | None,
    typer.Option(
        "--watch",
        metavar="DIR",
        help="Predict what DIR holds and what comes, in the place of --target. Each sub-folder is a domain.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
MaxWait = Annotated[
    float,
    typer.Option(
        "--max-wait",
        metavar="SECONDS",
        parser=not_negative,
        help="Predict a smaller batch when one of its images has waited so long.",
        rich_help_panel=PANEL,
    ),
]
Settle = Annotated[
    float,
    typer.Option(
        "--settle",
        metavar="SECONDS",
        parser=not_negative,
        help="A file is complete when it has not changed for so long.",
        rich_help_panel=PANEL,
    ),
]
MoveTo = Annotated[
    Path | None,
    typer.Option(
        "--move-to",
        metavar="DIR",
        help="Move images here once their predictions are written. Default: leave them.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
ContextBatches = Annotated[
    int,
    typer.Option(
        "--context",
        metavar="N",
        min=0,
        help="Pool the statistics of the last N batches of the same domain, for batches of a few images.",
        rich_help_panel=PANEL,
    ),
]
UntilIdle = Annotated[
    float | None,
    typer.Option(
        "--until-idle",
        metavar="SECONDS",
        parser=not_negative,
        help="Predict what waits and end when nothing has come for so long. Default: go on until stopped.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Watched:
    """These options of one command line."""

    folder: Path
    max_wait: float
    settle: float
    move_to: Path | None
    context: int
    until_idle: float | None


def check_choice(context: typer.Context, target: object, watch: Path | None) -> None:
    """Raises `InputError` unless there is one of --target and --watch, with options that go with it."""
    if bool(target) == (watch is not None):
        both = "--target and --watch exclude each other" if target else "no images are named"
        raise InputError(both, "Give --target DIR for a folder that is complete, or --watch DIR for one that fills.")
    names = ("order", "layout", "seed", "overwrite", "report")
    only_target = {name: f"--{name}" for name in names}
    only_watch = {
        "max_wait": "--max-wait",
        "settle": "--settle",
        "move_to": "--move-to",
        "context_batches": "--context",
        "until_idle": "--until-idle",
    }
    for name, flag in (only_target if watch else only_watch).items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"{flag} does not go with {'--watch' if watch else '--target'}",
                "A predictions file that is there is continued; move it away to start anew."
                if name == "overwrite"
                else "Leave it out.",
            )


def watch_folder(terminal: Terminal, request: Request, watched: Watched, *, dry_run: bool) -> None:
    """Check, load, watch, sum up. Ends the command with status 130 after Ctrl-C, and with 0 after SIGTERM."""
    _check_folders(watched)
    with stoppable() as stop:  # from here on, so that a signal while the model loads ends it properly as well
        _watch(terminal, request, watched, stop, dry_run=dry_run)
    if stop.signal == signal.SIGINT:
        raise typer.Exit(130)


def _watch(terminal: Terminal, request: Request, watched: Watched, stop: StopRequest, *, dry_run: bool) -> None:
    from gformer_cli.adapt import check_output
    from gformer_cli.bundle import load_bundle
    from gformer_cli.compute.device import make_deterministic, pick_device, pick_workers
    from gformer_cli.files import check_appendable, check_fillable, make_folder
    from gformer_cli.folders.targets import check_batch_size
    from gformer_cli.watch.ledger import skipped_file
    from gformer_cli.watch.loop import WatchOptions, watch

    check_batch_size(request.batch_size)
    check_output(request.out, overwrite=False, continued=True)
    check_appendable(skipped_file(request.out))
    if watched.move_to is not None:
        check_fillable(watched.move_to)
    where, decoders = pick_device(request.device), pick_workers(request.workers)
    cores = pick_cores(terminal, request.threads)
    bundle = load_bundle(request.model, own_backbone=request.backbone, white_level=request.white_level)
    bundle.check_memory(request.batch_size, where)
    if watched.context and bundle.header.static is not None:
        raise InputError(
            "--context has no effect on a static bundle", "It predicts every batch with the same statistics."
        )
    settings: dict[str, Any] = {
        "batch_size": request.batch_size,
        "order": "arrival",
        "context": watched.context,
        "precision": request.precision,
        **({} if request.white_level is None else {"white_level": request.white_level}),
    }
    rule, kept = request.trust.prepare(
        terminal, bundle, request.model, where, settings, out=request.out, continued=True
    )
    if dry_run:
        _show_plan(terminal, request, watched, kept.outputs, bundle.header.classes)
        return
    make_folder(request.out.parent)
    if watched.move_to is not None:
        make_folder(watched.move_to)
    make_deterministic(0)
    with terminal.progress() as progress, kept.open() as sinks:
        done = watch(
            bundle,
            WatchOptions(
                folder=watched.folder,
                out=request.out,
                batch_size=request.batch_size,
                max_wait=watched.max_wait,
                settle=watched.settle,
                until_idle=watched.until_idle,
                move_to=watched.move_to,
                probabilities=request.probabilities,
                strict=request.strict,
            ),
            device=where,
            workers=decoders,
            cores=cores,
            stop=stop,
            context=watched.context,
            guard=rule,
            obeyed=request.trust.obeyed,
            precision=request.precision,
            sinks=sinks,
            progress=progress,
        )
    listed = skipped_file(request.out)
    counts = dict(done.counts.most_common())
    terminal.result(
        {
            "out": str(request.out),
            "watched": str(watched.folder),
            "ended_by": done.ended_by,
            "images": done.images,
            "before": done.before,
            "batches": done.batches,
            "changed": done.changed,
            "counts": counts,
            "guard": request.trust.mode(rule),
            "decisions": dict(done.decisions),
            "skipped": done.skipped,
            "unsettled": done.unsettled,
            "skipped_file": str(listed) if listed.exists() else None,
            "left_aside": done.left_aside,
        },
        *([table("Predicted labels", ["label", "images"], [[k, str(v)] for k, v in counts.items()])] if counts else []),
        f"\nEnded by {done.ended_by}: {done.images} images in {done.batches} batches, {done.before} predicted before; "
        f"{done.changed} labels differ from the source model's. {request.out}",
        *counted(done.decisions),
        *([f"{done.skipped} files skipped, see {listed}"] if done.skipped else []),
        *([f"{done.unsettled} files go on changing and were not predicted"] if done.unsettled else []),
        *([describe_aside(done.left_aside)] if done.left_aside else []),
    )


def _check_folders(watched: Watched) -> None:
    if not watched.folder.is_dir():
        what = "not a folder" if watched.folder.exists() else "no such folder"
        raise InputError(f"{what}: {watched.folder}", "Give the folder in which images arrive; it may be empty.")
    if watched.move_to is None:
        return
    inside, outside = watched.move_to.resolve(), watched.folder.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise InputError(
            f"--move-to {watched.move_to} and --watch {watched.folder} lie within each other",
            "Predicted images would be found again: name a folder beside it.",
        )


def _show_plan(terminal: Terminal, request: Request, watched: Watched, kept: list[Path], classes: list[str]) -> None:
    from gformer_cli.watch.incoming import Incoming

    incoming = Incoming(watched.folder, settle=watched.settle, known=(), classes=classes)
    present = Counter(map(incoming.domain_of, incoming.names()))
    terminal.result(
        {
            "dry_run": True,
            "watched": str(watched.folder),
            "present": present,
            "left_aside": incoming.left_aside,
            "batch_size": request.batch_size,
            "max_wait": watched.max_wait,
            "context": watched.context,
            "move_to": None if watched.move_to is None else str(watched.move_to),
            "outputs": [str(path) for path in (request.out, *kept)],
            "continues": request.out.exists(),
        },
        table("", ["domain", "images there"], [[one_line(k), str(v)] for k, v in sorted(present.items())]),
        f"\nWould {'continue' if request.out.exists() else 'write'}: {request.out}",
        "Dry run: nothing was touched.",
    )
