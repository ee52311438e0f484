"""`gformer adapt --target`: what the command does for folders that are complete."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gformer_cli.commands import options, trust
from gformer_cli.commands.adapt_request import Request
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.commands.locations import STDOUT
from gformer_cli.commands.targets import check_targets, find_targets
from gformer_cli.console import Terminal, table
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Known, Layout, count_suffixes

if TYPE_CHECKING:
    import torch

    from gformer_cli.adapt import AdaptResult, Sample
    from gformer_cli.bundle import Bundle
    from gformer_cli.guard.rule import Guard


class Order(str, Enum):
    """In which order images form batches."""

    shuffle = "shuffle"
    name = "name"


@dataclass(frozen=True)
class Folders:
    """These options of one command line."""

    targets: Sequence[Path]
    order: str
    report: Path | None
    layout: Layout
    seed: int
    overwrite: bool


def check_stdout(*, as_json: bool, watched: bool) -> None:
    """Raises `InputError` where the predictions cannot go to stdout."""
    if as_json:
        raise InputError("--out - and --json both want stdout", "Name a file with --out, or leave out --json.")
    if watched:
        raise InputError(
            "--out - does not go with --watch", "What is predicted is known from the file: name one with --out."
        )


def predict_folders(terminal: Terminal, request: Request, folders: Folders, *, dry_run: bool) -> None:
    """Check, load, predict, write, sum up."""
    check_targets(folders.targets)

    from gformer_cli import adapt as stage
    from gformer_cli.bundle import load_bundle
    from gformer_cli.compute.device import make_deterministic, pick_device, pick_workers

    _check_outputs(request, folders)
    where, decoders = pick_device(request.device), pick_workers(request.workers)
    cores = options.pick_cores(terminal, request.threads)
    bundle = load_bundle(request.model, own_backbone=request.backbone, white_level=request.white_level)
    known = Known(bundle.header.classes, bundle.header.data.domains)
    found = find_targets(terminal, folders.targets, folders.layout, known, strict=request.strict)
    domains, left_aside = found.domains, count_suffixes(found.aside)
    bundle.check_memory(min(request.batch_size, max(len(domain.files) for domain in domains)), where)
    settings: dict[str, Any] = {
        "batch_size": request.batch_size,
        "order": folders.order,
        "seed": folders.seed,
        "precision": request.precision,
        **({} if request.white_level is None else {"white_level": request.white_level}),
    }
    rule, kept = request.trust.prepare(
        terminal, bundle, request.model, where, settings, out=request.out, overwrite=folders.overwrite
    )
    if dry_run:
        outputs = [request.out, *kept.outputs, *([folders.report] if folders.report else [])]
        choices: dict[str, object] = {
            "batch_size": request.batch_size,
            "order": folders.order,
            "guard": request.trust.guard.value,
        }
        show_prediction_plan(terminal, domains, where, decoders, outputs, choices, left_aside)
        return
    make_deterministic(folders.seed)
    sample = None if folders.report is None else stage.Sample(bundle.header.classes)
    with _reserved(request.out) as ours, terminal.progress() as progress, kept.open() as sinks:
        done = stage.adapt(
            bundle,
            domains,
            batch_size=request.batch_size,
            order=folders.order,
            seed=folders.seed,
            device=where,
            workers=decoders,
            cores=cores,
            strict=request.strict,
            guard=rule,
            obeyed=request.trust.obeyed,
            precision=request.precision,
            sinks=[*sinks, *([sample] if sample is not None else [])],
            progress=progress,
        )
        if not ours:  # a file may have come meanwhile
            stage.check_output(request.out, overwrite=folders.overwrite)
        _write(terminal, request, bundle, done, name_targets=len(domains) > 1)
    if folders.report is not None and sample is not None:
        made = {**settings, "guard": request.trust.mode(rule)}
        _write_report(request, folders.report, bundle, sample, made, where)
    _tell_doubts(terminal, request, done)
    _sum_up(terminal, request, folders.report, rule, done, left_aside)


def _check_outputs(request: Request, folders: Folders) -> None:
    from gformer_cli import adapt as stage
    from gformer_cli.folders.targets import check_batch_size
    from gformer_cli.report.page.files import check_report
    from gformer_cli.stdio import check_open

    check_batch_size(request.batch_size)
    if request.out == STDOUT:
        check_open()
    else:
        stage.check_output(request.out, overwrite=folders.overwrite)
    if folders.report is not None:
        check_report(folders.report, overwrite=folders.overwrite)


@contextmanager
def _reserved(out: Path) -> Iterator[bool]:
    """Nobody else writes to the predictions file meanwhile. Whether that is sure: there was a file to hold, or none is
    written."""
    from gformer_cli import adapt as stage
    from gformer_cli.files import make_folder

    if out == STDOUT:
        yield True
        return
    make_folder(out.parent)
    with stage.held(out) as ours:
        yield ours


def _write(terminal: Terminal, request: Request, bundle: Bundle, done: AdaptResult, *, name_targets: bool) -> None:
    from gformer_cli import adapt as stage

    shown = {"probabilities": request.probabilities, "name_targets": name_targets}
    if request.out == STDOUT:
        text = io.StringIO(newline="")
        stage.write_csv(text, done.rows, bundle.header.classes, **shown)
        terminal.document(text.getvalue())
    else:
        stage.write_rows(request.out, done.rows, bundle.header.classes, **shown)


def _write_report(
    request: Request, report: Path, bundle: Bundle, sample: Sample, made: dict[str, Any], device: torch.device
) -> None:
    from gformer_cli.bundle import library_versions
    from gformer_cli.evaluate.records import describe_bundle
    from gformer_cli.report.page.adaptation import adaptation_page
    from gformer_cli.report.page.files import write_report

    made = {"command": options.command_line(), **made, "device": str(device)}
    write_report(report, adaptation_page(sample, describe_bundle(request.model, bundle), made, library_versions()))


def _tell_doubts(terminal: Terminal, request: Request, done: AdaptResult) -> None:
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
            + ("; with --guard warn they are predicted with it all the same" if not request.trust.obeyed else "")
        )
    if done.flagged:
        terminal.listed(
            [f"{target}, batch {number}: {trust.told(verdict)}" for number, target, verdict in done.flagged]
        )


def _sum_up(
    terminal: Terminal,
    request: Request,
    report: Path | None,
    rule: Guard | None,
    done: AdaptResult,
    left_aside: dict[str, int],
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
    wrote = "" if request.out == STDOUT else f". Wrote {request.out}"
    page = f"{' and' if wrote else '. Wrote'} {report}" if report is not None else ""
    terminal.result(
        {
            "model": str(request.model),
            "out": str(request.out),
            "images": len(done.rows),
            "batches": done.batches,
            "changed": done.changed,
            "counts": done.counts(),
            "guard": request.trust.mode(rule),
            "decisions": done.decisions,
            "flagged": flagged,
            "levels": done.levels,
            "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
            "left_aside": left_aside,
        },
        table("Predicted labels", ["label", "images"], [[k, str(v)] for k, v in done.counts().items()]),
        f"\n{len(done.rows)} images in {done.batches} batches; "
        f"{done.changed} labels differ from the source model's{wrote}{page}",
        *trust.counted(done.decisions),
    )
