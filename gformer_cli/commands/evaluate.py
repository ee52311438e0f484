"""`gformer evaluate`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gformer_cli.commands import evaluate_options as own
from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.commands.found import SOURCE_SPLITS, TARGET_SPLITS, find_images, known_of
from gformer_cli.commands.locations import pick_model, pick_results
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, Found, Known, Layout, check_folders_exist, count_suffixes

if TYPE_CHECKING:
    import torch

    from gformer_cli.bundle import Bundle
    from gformer_cli.compute.threads import Cores
    from gformer_cli.evaluate import Plan, Results
    from gformer_cli.evaluate.limits import Change
    from gformer_cli.evaluate.output import Output
    from gformer_cli.export.model import GraphModel


def evaluate(
    target: own.Targets = None,
    model: options.Model = None,
    run: options.Run = None,
    source: own.Sources = None,
    out: own.Out = None,
    methods: own.Methods = None,
    streams: own.Streams = None,
    shifts: own.Shifts = False,
    corruptions: own.Corruptions = None,
    tune: own.Tune = False,
    batch_size: options.BatchSize = 64,
    label_skew: own.LabelSkew = 0.1,
    arrival: own.Arrival = None,
    limit: own.Limit = None,
    severity: own.Severity = None,
    seed: own.Seeds = None,
    fail_under: own.FailUnder = None,
    fail_harm: own.FailHarm = None,
    baseline: own.Baseline = None,
    report: options.Report = None,
    examine: own.Examine = False,
    backbone: options.OwnBackbone = None,
    white_level: options.WhiteLevel = None,
    class_map: options.ClassMap = None,
    layout: options.LayoutOption = Layout.auto,
    device: options.Device = "auto",
    workers: options.Workers = None,
    threads: options.Threads = None,
    jobs: own.Jobs = 1,
    shard: own.Shard = None,
    strict: options.Strict = False,
    resume: options.Resume = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Measure what adapting is worth: methods x streams on labelled targets, or on source images under --shifts.

    Labels are used to count what was right, and for nothing else.

    Example: gformer evaluate --target data/targets --fail-under gformer=0.8
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    own.check_choice(target, source, streams, shifts=shifts, tune=tune, corruptions=corruptions)
    out = pick_results(terminal, out, model, run)
    part = own.read_shard(shard, out, jobs, (fail_under, fail_harm is not None, baseline, report))
    if resume and out is None:
        raise InputError("--resume needs the --out folder of the evaluation to go on with", "Add --out DIR.")
    model = pick_model(terminal, model, run)
    for named in (target, source):  # each by itself: the same images may be both
        check_folders_exist(named or [])

    from gformer_cli.compute import ranks
    from gformer_cli.compute.device import pick_device, pick_workers
    from gformer_cli.evaluate import limits, plan
    from gformer_cli.evaluate.output import check_output
    from gformer_cli.export.header import is_graph_file
    from gformer_cli.export.model import load_model
    from gformer_cli.report.page.files import check_report

    cores = options.pick_cores(terminal, threads)
    if is_graph_file(model):
        plan.check_graph(model, tune=tune, examine=examine, device=device)
        device = "cpu"
    bundle = load_model(model, threads=cores.count, own_backbone=backbone, white_level=white_level)
    known = known_of(bundle.header, options.read_class_map(class_map, bundle.header.classes))
    given = ((target, TARGET_SPLITS, severity), (source, SOURCE_SPLITS, None))
    found = [_found(terminal, folders, layout, known, *which, strict=strict) for folders, *which in given]
    targets, sources = (part.domains for part in found)
    left_aside = count_suffixes(file for part in found for file in part.aside)
    wish = plan.Wish(
        methods=methods,
        streams=streams,
        shifts=shifts,
        batch_size=batch_size,
        seeds=seed or [0],
        skew=label_skew,
        limit=limit,
        examine=examine,
        reported=report is not None,
        shard=part,
        arrival=arrival,
        corruptions=corruptions,
        severity=severity,
    )
    planned = plan.make_plan(wish, bundle, targets, has_source=bool(sources))
    wanted = limits.read_limits(planned, fail_under=fail_under or [], fail_harm=fail_harm, baseline=baseline)
    where, decoders = pick_device(device), pick_workers(workers)
    most = max((len(domain.files) for domain in [*planned.targets, *sources]), default=0)
    bundle.check_memory(min(batch_size, most) * (jobs or 1), where)
    output = None if out is None else check_output(out, overwrite=overwrite, resume=resume)
    if report is not None and ranks.first():
        check_report(report, overwrite=overwrite)
    exported = is_graph_file(model)
    remarks = plan.remarks(planned, has_source=bool(sources), static=bundle.header.static, exported=exported)
    for text in [*remarks, *plan.left_out(wish, bundle, has_source=bool(sources))]:
        terminal.message(text)
    if dry_run:
        files = [*([output.results, output.table] if output else []), *([report] if report else [])]
        domains = [*planned.targets, *sources]
        show_prediction_plan(terminal, domains, where, decoders, files, planned.choices | {"tune": tune}, left_aside)
        return
    how = _How(tune=tune, resume=resume, strict=strict, device=where, workers=decoders, cores=cores, jobs=jobs)
    rest = {
        "label_skew": label_skew,
        "arrival": arrival and str(arrival),
        "limit": limit,
        "tune": tune,
        "device": str(where),
    }
    run_as = {"command": options.command_line(), **planned.choices, **rest}
    results = _measure(terminal, bundle, planned, sources, model, backbone, output, how, run_as)
    if not ranks.first():
        return
    changes = limits.compare(results, wanted.baseline)
    _show(terminal, results, changes, output, report, left_aside)
    limits.require(results, wanted.least, wanted.most_harm, changes)


@dataclass(frozen=True)
class _How:
    """How it is measured, whatever is."""

    tune: bool
    resume: bool
    strict: bool
    device: torch.device
    workers: int
    cores: Cores
    jobs: int


def _found(
    terminal: Terminal,
    folders: list[Path] | None,
    layout: Layout,
    known: Known,
    splits: Collection[str],
    severity: int | None,
    *,
    strict: bool,
) -> Found:
    if not folders:
        return Found()
    return find_images(terminal, folders, layout, strict=strict, known=known, splits=splits, severity=severity)


def _measure(
    terminal: Terminal,
    bundle: Bundle | GraphModel,
    plan: Plan,
    source: Sequence[Domain],
    model: Path,
    own_backbone: str | None,
    output: Output | None,
    how: _How,
    run: Mapping[str, object],
) -> Results:
    from gformer_cli.compute.device import make_deterministic
    from gformer_cli.evaluate import evaluate as measure

    make_deterministic(plan.seeds[0])
    with terminal.progress() as progress:
        return measure(
            bundle,
            plan,
            model=model,
            own_backbone=own_backbone,
            source=source,
            output=output,
            run=run,
            progress=progress,
            **vars(how),
        )


def _show(
    terminal: Terminal,
    results: Results,
    changes: Sequence[Change],
    output: Output | None,
    report: Path | None,
    left_aside: Mapping[str, int],
) -> None:
    """Write the page that was asked for, and show everything."""
    from gformer_cli.evaluate.estimates import missed
    from gformer_cli.evaluate.harm import harms
    from gformer_cli.evaluate.trained import doubts
    from gformer_cli.report.table import (
        calibration_tables,
        change_table,
        estimate_tables,
        harm_tables,
        result_tables,
        tuned_table,
    )

    terminal.skipped([(item.path, item.reason) for item in results.skipped])
    document = results.to_json()
    if report is not None:
        from gformer_cli.evaluate.reading import parse_results
        from gformer_cli.report.page.evaluation import evaluation_page
        from gformer_cli.report.page.files import write_report

        write_report(report, evaluation_page(parse_results(document)))
    tables = [
        *result_tables(results, sparklines=terminal.draws),
        *harm_tables(harms(results.summaries()), every_cell=terminal.verbose),
        *calibration_tables(results.summaries()),
        *(estimate_tables(missed(results.cells, results.methods)) if terminal.verbose else []),
    ]
    for text in doubts(results.bundle):
        terminal.warning(text)
    terminal.result(
        document | {"left_aside": left_aside} | ({"changes": [vars(change) for change in changes]} if changes else {}),
        *([tuned_table(results.tuned), ""] if results.run["tune"] else []),
        *[part for table in tables for part in ("", table)][1:],
        *(["", change_table(changes)] if changes else []),
        *([f"\nWrote {output.results} and {output.table}"] if output is not None else []),
        *([f"{'' if output else chr(10)}Wrote {report}"] if report is not None else []),
    )
