"""`gformer evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.console import Terminal
from gformer_cli.data.folders import Layout, find_domains

DEFAULT_METHODS = ["source", "bn", "tent", "gformer"]


def evaluate(
    model: options.Model,
    target: Annotated[
        list[Path],
        typer.Option(
            "--target",
            metavar="DIR",
            help="Labelled images of unseen conditions: a domain or a root of domains. Repeatable.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for results.json; must be new or empty.", show_default=False),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="Methods to measure. Repeatable. Default: all four.",
            show_default=False,
        ),
    ] = None,
    batch_size: options.BatchSize = 64,
    seed: Annotated[
        list[int] | None,
        typer.Option("--seed", help="Seed of the images' order. Repeatable. Default: 0.", show_default=False),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-under",
            metavar="METHOD=VALUE",
            help="Exit with 1 when the method's average accuracy (0 to 1) is lower. Repeatable.",
            show_default=False,
        ),
    ] = None,
    backbone: options.OwnBackbone = None,
    layout: options.LayoutOption = Layout.auto,
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
    """Measure what adapting is worth on labelled targets, against the source model, bn and tent.

    Labels are used to count what was right, and for nothing else.

    Example: gformer evaluate --model runs/site/model.gformer --target data/targets --fail-under gformer=0.8
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    domains = find_domains(target, layout)

    from gformer_cli.bundle import load_bundle
    from gformer_cli.report.table import accuracy_table
    from gformer_cli.stages import evaluate as stage
    from gformer_cli.stages.targets import check_batch_size, check_known_classes
    from gformer_cli.stages.training import make_deterministic, pick_device, pick_workers

    names = stage.check_methods(methods or DEFAULT_METHODS)
    limits = stage.parse_limits(fail_under or [], names)
    check_batch_size(batch_size)
    bundle = load_bundle(model, own_backbone=backbone)
    check_known_classes(domains, bundle.header.classes)
    where, threads, seeds = pick_device(device), pick_workers(workers), seed or [0]
    results_path = None if out is None else stage.check_output(out, overwrite=overwrite)
    if dry_run:
        choices: dict[str, object] = {"methods": names, "batch_size": batch_size, "seeds": seeds}
        show_prediction_plan(terminal, domains, where, threads, [results_path] if results_path else [], choices)
        return
    make_deterministic(seeds[0])
    with terminal.progress() as progress:
        results = stage.evaluate(
            bundle,
            domains,
            identity=stage.describe_bundle(model, bundle),
            methods=names,
            batch_size=batch_size,
            seeds=seeds,
            device=where,
            workers=threads,
            strict=strict,
            progress=progress,
        )
    terminal.skipped([(item.path, item.reason) for item in results.skipped])
    if results_path is not None:
        stage.write_results(results_path, results)
    terminal.result(
        results.to_json(),
        accuracy_table(results),
        *([f"\nWrote {results_path}"] if results_path is not None else []),
    )
    stage.require(results, limits)
