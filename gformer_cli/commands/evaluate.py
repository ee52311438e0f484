"""`gformer evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.commands.found import find_images
from gformer_cli.commands.locations import pick_model, pick_results
from gformer_cli.console import Terminal
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Found, Known, Layout, check_folders_exist, count_suffixes
from gformer_cli.seeding import LARGEST_SEED

DEFAULT_METHODS = ["source", "bn", "tent", "constant", "gformer"]
"""Without `constant` where the bundle holds no control."""
DEFAULT_STREAMS = ["stationary"]


def evaluate(
    target: Annotated[
        list[Path] | None,
        typer.Option(
            "--target",
            metavar="DIR",
            help="Labelled images of unseen conditions: a domain or a root of domains. Repeatable.",
            show_default=False,
        ),
    ] = None,
    model: options.Model = None,
    run: options.Run = None,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source",
            metavar="DIR",
            help="The source images, for --shifts, --tune, the stream 'forgetting' and EATA. Repeatable.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for results.json and results.csv; must be new or empty. Default: RUN/results, or none where "
            "--model is given.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            metavar="NAMES",
            help="Methods to measure: a,b,c or all. Repeatable. Default: source,bn,tent,constant,gformer.",
            show_default=False,
        ),
    ] = None,
    streams: Annotated[
        list[str] | None,
        typer.Option(
            "--streams",
            metavar="NAMES",
            help="Streams to measure on: a,b,c or all. Repeatable. Default: stationary.",
            show_default=False,
        ),
    ] = None,
    shifts: Annotated[
        bool,
        typer.Option("--shifts", help="Measure on held-out source images under simulated shifts; needs no target."),
    ] = False,
    tune: Annotated[
        bool,
        typer.Option("--tune", help="Choose the methods' settings first, on held-out source images."),
    ] = False,
    batch_size: options.BatchSize = 64,
    label_skew: Annotated[
        float,
        typer.Option(help="Of the stream 'label-shift': Dirichlet concentration; 0 is one class at a time."),
    ] = 0.1,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", help="Most images of each target. Default: all.", show_default=False),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            "--seed",
            min=0,
            max=LARGEST_SEED,
            help="Seed of the images' order. Repeatable. Default: 0.",
            show_default=False,
        ),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            metavar="METHOD=VALUE",
            help="Exit with 1 when the method's average accuracy (0 to 1) is lower on any stream. Repeatable.",
            show_default=False,
        ),
    ] = None,
    fail_harm: Annotated[
        float | None,
        typer.Option(
            "--fail-harm",
            metavar="VALUE",
            help="Exit with 1 when gformer loses more accuracy than this to source on any target.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="An earlier results.json: show what changed, exit with 1 when something got worse.",
            show_default=False,
        ),
    ] = None,
    report: options.Report = None,
    examine: Annotated[
        bool,
        typer.Option(
            "--examine",
            help="Keep in the results what gformer report shows of layers and changed images; --report does so too.",
        ),
    ] = False,
    backbone: options.OwnBackbone = None,
    white_level: options.WhiteLevel = None,
    layout: options.LayoutOption = Layout.auto,
    device: options.Device = "auto",
    workers: options.Workers = None,
    threads: options.Threads = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            min=1,
            help="Streams at once, each in a process with its share of the threads: faster for small networks.",
        ),
    ] = 1,
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
    if not target and not shifts:
        raise InputError("no --target given", "Name labelled target folders, or use --shifts with --source.")
    if target and shifts:
        raise InputError("--shifts measures on source images, so it takes no --target", "Run the two one by one.")
    if shifts and streams:
        raise InputError("--shifts is a stream of its own, so it takes no --streams", "Leave out one of them.")
    if (tune or shifts) and not source:
        raise InputError(f"--{'tune' if tune else 'shifts'} needs the source images", "Add --source DIR.")
    out = pick_results(terminal, out, model, run)
    if resume and out is None:
        raise InputError("--resume needs the --out folder of the evaluation to go on with", "Add --out DIR.")
    model = pick_model(terminal, model, run)
    for named in (target, source):
        check_folders_exist(named or [])

    from gformer_cli import evaluate as stage
    from gformer_cli.bundle import load_bundle
    from gformer_cli.compute.device import make_deterministic, pick_device, pick_workers
    from gformer_cli.data.streams import STREAMS
    from gformer_cli.evaluate import limits, plan
    from gformer_cli.evaluate.output import check_output
    from gformer_cli.methods import METHODS
    from gformer_cli.report.page.files import check_report, write_report
    from gformer_cli.report.table import change_table, result_tables, tuned_table

    bundle = load_bundle(model, own_backbone=backbone, white_level=white_level)
    known = Known(bundle.header.classes, bundle.header.data.domains)
    found = [
        find_images(terminal, folders, layout, strict=strict, known=known) if folders else Found()
        for folders in (target, source)
    ]
    targets, sources = (part.domains for part in found)
    left_aside = count_suffixes(file for part in found for file in part.aside)
    cannot = plan.impossible_methods(bundle), plan.impossible_streams(has_source=bool(sources))
    defaults = [name for name in DEFAULT_METHODS if name not in cannot[0]]
    planned = stage.Plan(
        methods=plan.choose(methods or defaults, METHODS, "method", cannot[0]),
        streams=[plan.SHIFTS] if shifts else plan.choose(streams or DEFAULT_STREAMS, STREAMS, "stream", cannot[1]),
        targets=plan.limited(targets, limit),
        batch_size=batch_size,
        seeds=list(dict.fromkeys(seed or [0])),
        skew=label_skew,
        examine=examine or report is not None,
    )
    plan.check_plan(planned, bundle)
    least = limits.parse_limits(fail_under or [], planned.methods)
    limits.check_harm(fail_harm, planned.methods)
    if examine and limits.JUDGED not in planned.methods:
        raise InputError(f"--examine looks into {limits.JUDGED!r}, which is not measured", "Leave it out.")
    before = [] if baseline is None else limits.read_baseline(baseline)
    if baseline is not None:
        limits.check_comparable(before, planned)
    where, decoders = pick_device(device), pick_workers(workers)
    cores = options.pick_cores(terminal, threads)
    most = max((len(domain.files) for domain in [*planned.targets, *sources]), default=0)
    bundle.check_memory(min(batch_size, most) * (jobs or 1), where)
    output = None if out is None else check_output(out, overwrite=overwrite, resume=resume)
    if report is not None:
        check_report(report, overwrite=overwrite)
    for text in plan.remarks(planned, has_source=bool(sources), static=bundle.header.static):
        terminal.message(text)
    for asked, impossible in zip((methods, streams), cannot, strict=True):
        for name, why in impossible.items():
            if plan.asks_for_all(asked or []):
                terminal.message(f"left out: {name}. {why}.")
    if dry_run:
        choices: dict[str, object] = {
            "methods": planned.methods,
            "streams": planned.streams,
            "batch_size": batch_size,
            "seeds": planned.seeds,
            "tune": tune,
        }
        files = [*([output.results, output.table] if output else []), *([report] if report else [])]
        show_prediction_plan(terminal, [*planned.targets, *sources], where, decoders, files, choices, left_aside)
        return
    make_deterministic(planned.seeds[0])
    with terminal.progress() as progress:
        results = stage.evaluate(
            bundle,
            planned,
            model=model,
            own_backbone=backbone,
            source=sources,
            tune=tune,
            output=output,
            resume=resume,
            device=where,
            workers=decoders,
            cores=cores,
            jobs=jobs,
            strict=strict,
            run={
                "command": options.command_line(),
                "methods": list(planned.methods),
                "streams": list(planned.streams),
                "batch_size": batch_size,
                "seeds": list(planned.seeds),
                "label_skew": label_skew,
                "limit": limit,
                "tune": tune,
                "device": str(where),
            },
            progress=progress,
        )
    terminal.skipped([(item.path, item.reason) for item in results.skipped])
    changes = limits.compare(results, before)
    document = results.to_json()
    if report is not None:
        from gformer_cli.evaluate.reading import parse_results
        from gformer_cli.report.page.evaluation import evaluation_page

        write_report(report, evaluation_page(parse_results(document)))
    terminal.result(
        document | {"left_aside": left_aside} | ({"changes": [vars(change) for change in changes]} if changes else {}),
        *([tuned_table(results.tuned), ""] if tune else []),
        *[part for table in result_tables(results, sparklines=terminal.draws) for part in ("", table)][1:],
        *(["", change_table(changes)] if changes else []),
        *([f"\nWrote {output.results} and {output.table}"] if output is not None else []),
        *([f"{'' if output else chr(10)}Wrote {report}"] if report is not None else []),
    )
    limits.require(results, least, fail_harm, changes)
