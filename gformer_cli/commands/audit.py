"""`gformer audit`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.locations import pick_model
from gformer_cli.commands.targets import check_targets, find_targets
from gformer_cli.console import Terminal, one_line, percent, table
from gformer_cli.errors import InputError, WorkError
from gformer_cli.folders.domains import Known, Layout

if TYPE_CHECKING:
    from rich.table import Table

    from gformer_cli.audit.records import Damage
    from gformer_cli.audit.replay import Difference, Replay
    from gformer_cli.audit.summary import Group, Summary

LISTED = 10
"""Layers and differences that are shown without --verbose."""


def audit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What gformer adapt --audit wrote.", show_default=False)],
    replay: Annotated[
        bool, typer.Option("--replay", help="Predict every logged batch again and compare. Needs --target.")
    ] = False,
    model: Annotated[
        list[Path] | None,
        typer.Option(
            "--model",
            metavar="FILE",
            help="The bundle or .onnx file that wrote the log. Repeatable, for several. Default: RUN/model.gformer.",
            show_default=False,
        ),
    ] = None,
    run: options.Run = None,
    target: Annotated[
        list[Path] | None,
        typer.Option(
            "--target", metavar="DIR", help="The images, as they were given to adapt. Repeatable.", show_default=False
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            parser=options.not_negative,
            metavar="NUMBER",
            help="Largest difference of a confidence. Default: 0 where hardware, threads and versions are those of the "
            "log, else 0.0001.",
            show_default=False,
        ),
    ] = None,
    backbone: options.OwnBackbone = None,
    layout: options.LayoutOption = Layout.auto,
    device: options.Device = "auto",
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Sum up an audit log, or prove its predictions: --replay predicts every batch of it again.

    Damaged lines are left out and named, and the status is 1. A replay ends with 0 when all predictions are the same,
    else with 1.

    Example: gformer audit audit.jsonl

    Example: gformer audit --replay audit.jsonl --target incoming
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    if not replay:
        given = {"--model": model, "--run": run, "--target": target, "--tolerance": tolerance, "--backbone": backbone}
        for name, value in given.items():
            if value is not None:
                raise InputError(f"{name} is for --replay", "Add --replay, or leave it out to sum up the log.")
        from gformer_cli.audit.records import Damage, read_log
        from gformer_cli.audit.summary import summarise

        damage = Damage()
        summary = summarise(record for _, record in read_log(file, damage))
        terminal.result(summary.to_json() | damage.to_json(), *_shown(summary, verbose))
        _require_whole(terminal, file, damage)
        return
    if not target:
        raise InputError("--replay needs the images", "Add --target DIR, as it was given to adapt.")
    check_targets(target)
    bundles = model if model and run is None else [pick_model(terminal, model[0] if model else None, run)]

    from gformer_cli.audit import replay as stage
    from gformer_cli.compute.device import make_deterministic, pick_device, pick_workers
    from gformer_cli.export.header import model_header

    headers = [model_header(path) for path in bundles]
    maps = {folder: label for header in headers for folder, label in header.class_map.items()}
    known = Known({name for header in headers for name in header.classes}, headers[0].data.domains, maps)
    domains = find_targets(terminal, target, layout, known).domains
    make_deterministic(0)
    with terminal.progress() as progress:
        found = stage.replay(
            file,
            bundles,
            domains,
            device=pick_device(device),
            workers=pick_workers(workers),
            tolerance=tolerance,
            own_backbone=backbone,
            progress=progress,
        )
    for told in found.elsewhere:
        terminal.message(f"the log was not written as here: {told}")
    terminal.result(found.to_json(), *_compared(found, verbose))
    _require_whole(terminal, file, found.damage)
    if found.equal < found.batches:
        raise WorkError(
            f"{found.batches - found.equal} of {found.batches} batches could not be proved",
            "The list above says why." if verbose else "The list above says why; --verbose names every image.",
        )


def _require_whole(terminal: Terminal, file: Path, damage: Damage) -> None:
    """Raises `WorkError` for a log with damaged lines; without --json they are named."""
    if not damage.count:
        return
    noun = "line is" if damage.count == 1 else "lines are"
    if not terminal.as_json:
        terminal.warning(f"{damage.count} {noun} damaged and left out of the figures")
        terminal.listed([reason for _, reason in damage.lines])
    raise WorkError(
        f"{damage.count} {noun} damaged in {file}, the first is line {damage.lines[0][0]}",
        "All other lines were read. Restore the file, or take these lines out.",
    )


def _shown(summary: Summary, verbose: bool) -> Iterable[str | Table]:
    whole = summary.whole
    assert whole is not None
    yield (
        f"{whole.batches:,} batches, {whole.images:,} images, {_time(whole.first)} to {_time(whole.last)} UTC, "
        f"{1000 * whole.seconds / whole.images:.1f} ms an image"
    )
    yield f"decisions: {', '.join(f'{name} {count:,}' for name, count in whole.decisions.most_common())}"
    yield f"labels that differ from the source model's: {whole.changed:,} ({percent(whole.changed / whole.images)} %)\n"
    yield _groups(f"By {summary.unit} (UTC)", summary.unit, summary.periods)
    yield ""
    yield _groups("By target", "target", summary.targets)
    yield ""
    bundles = {name[:12]: group for name, group in summary.bundles.items()}
    yield _groups("By bundle (SHA-256)", "bundle", bundles)
    yield ""
    layers = summary.most_changed()
    columns = ["layer", "change of parameters", "mixing", "drift of means", "drift of spreads"]
    rows = [
        [
            name,
            _number(of.change.mean),
            _number(of.mixing.mean),
            _number(of.mean_shift.mean),
            _number(of.spread_shift.mean),
        ]
        for name, of in layers[: None if verbose else LISTED]
    ]
    more = "" if len(rows) == len(layers) else f" ({len(rows)} of {len(layers)}; --verbose shows all)"
    yield table(f"Most changed layers{more}", columns, rows)
    if summary.reasons:
        yield ""
        counts = [[name, f"{count:,}"] for name, count in summary.reasons.most_common()]
        yield table("Signals out of range", ["signal", "batches"], counts)
    if summary.signals:
        yield ""
        ranges = [
            [name, _number(of.low), _number(of.mean), _number(of.high)] for name, of in sorted(summary.signals.items())
        ]
        yield table("Signals", ["signal", "smallest", "mean", "largest"], ranges)
    if len(summary.settings) > 1:
        yield f"\n{len(summary.settings)} different settings; --json shows them."


def _groups(title: str, first: str, groups: dict[str, Group]) -> Table:
    decisions = list(dict.fromkeys(name for group in groups.values() for name in sorted(group.decisions)))
    rows = [
        [
            name,
            f"{group.batches:,}",
            f"{group.images:,}",
            *(f"{group.decisions[decision]:,}" for decision in decisions),
            percent(group.changed / group.images),
            _number(group.confidence.mean),
            _number(group.drift.mean),
        ]
        for name, group in groups.items()
    ]
    return table(title, [first, "batches", "images", *decisions, "changed %", "confidence", "drift"], rows)


def _compared(found: Replay, verbose: bool) -> Iterable[str]:
    kinds: dict[tuple[int, str], list[Difference]] = {}
    for difference in found.differences:
        kinds.setdefault((difference.line, difference.kind), []).append(difference)
    for alike in list(kinds.values())[: None if verbose else LISTED]:
        for difference in alike if verbose else alike[:1]:
            more = f" (and {len(alike) - 1} more of this batch)" if len(alike) > 1 and not verbose else ""
            yield _told(difference) + more
    if len(kinds) > LISTED and not verbose:
        yield f"... and {len(kinds) - LISTED:,} more such lines: --verbose shows all"
    bits = "all of them" if found.identical == found.batches else f"{found.identical:,} of them"
    limits = " or ".join(f"{limit:g}" for limit in sorted(found.tolerances))
    yield (
        f"{found.equal:,} of {found.batches:,} batches ({found.images:,} images) give the same predictions, "
        f"{bits} to the last bit."
    )
    yield f"Largest difference of a confidence: {found.largest:.2g}, allowed: {limits}."


def _told(difference: Difference) -> str:
    where = f"line {difference.line}, batch {difference.batch} of {one_line(difference.target)}"
    path = one_line(difference.path or "")
    logged, now = difference.logged, difference.now
    if difference.kind == "missing":
        return f"{where}: {path}: the file is missing"
    if difference.kind == "content":
        return f"{where}: {path}: other content, SHA-256 {logged}..., now {now}"
    if difference.kind == "bundle":
        return f"{where}: written by another bundle, SHA-256 {logged}..., given: {now}"
    return f"{where}: {f'{path}: ' if path else ''}{difference.kind.replace('_', ' ')} {logged}, now {now}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _time(time: object) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
