"""`gformer freeze`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.dry_run import show_prediction_plan
from gformer_cli.commands.found import known_of
from gformer_cli.commands.locations import pick_model, pick_static
from gformer_cli.commands.targets import check_targets, find_targets
from gformer_cli.console import Terminal, amount
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, Layout, count_suffixes

if TYPE_CHECKING:
    from gformer_cli.adapt.freeze import FreezeResult


def freeze(
    target: Annotated[
        Path,
        typer.Option(
            "--target",
            metavar="DIR",
            help="Images of the one condition to freeze for: a flat folder or class folders, whose names are not read; "
            "- reads a list of files from stdin.",
            show_default=False,
        ),
    ],
    model: options.Model = None,
    run: options.Run = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The static bundle to write. Default: static.gformer beside the bundle.",
            show_default=False,
        ),
    ] = None,
    batch_size: options.BatchSize = 64,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", help="Most images that are read, drawn from all of the folder.")
    ] = 2048,
    backbone: options.OwnBackbone = None,
    white_level: options.WhiteLevel = None,
    layout: options.LayoutOption = Layout.auto,
    seed: options.Seed = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
    threads: options.Threads = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Make a static bundle from a sample of one stable condition: what is generated for it is kept. Needs no labels.

    A static bundle works in adapt, evaluate and inspect. It does not look at the batches that it predicts: it costs
    what the source model costs, and follows no change. What is generated for the sample's batches is averaged.

    Example: gformer freeze --target incoming
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    model = pick_model(terminal, model, run)
    out = pick_static(terminal, out, model)
    check_targets([target])

    import torch

    from gformer_cli.adapt import freeze as stage
    from gformer_cli.bundle import load_bundle
    from gformer_cli.compute.device import pick_device, pick_workers
    from gformer_cli.files import make_folder

    where, decoders = pick_device(device), pick_workers(workers)
    bundle = load_bundle(model, own_backbone=backbone, white_level=white_level)
    known = known_of(bundle.header)
    found = find_targets(terminal, [target], layout, known, strict=strict)
    domains, left_aside = found.domains, count_suffixes(found.aside)
    _check_one_condition(target, domains)
    bundle.check_memory(min(batch_size, limit, len(domains[0].files)), where)
    stage.check_freeze(model, bundle, out, batch_size=batch_size, limit=limit, overwrite=overwrite)
    if dry_run:
        choices: dict[str, object] = {"batch_size": batch_size, "limit": limit}
        show_prediction_plan(terminal, domains, where, decoders, [out], choices, left_aside)
        return
    make_folder(out.parent)
    # all of them, busy or not: the same sample has to give the same file
    torch.set_num_threads(options.pick_cores(terminal, threads).count)
    with terminal.progress() as progress:
        done = stage.freeze(
            model,
            bundle,
            domains[0],
            out,
            batch_size=batch_size,
            limit=limit,
            seed=seed or 0,
            device=where,
            workers=decoders,
            strict=strict,
            progress=progress,
        )
    _show(terminal, done, out, batch_size, left_aside)


def _check_one_condition(target: Path, domains: Sequence[Domain]) -> None:
    if len(domains) > 1:
        names = ", ".join(domain.name for domain in domains[:5])
        raise InputError(
            f"{target} holds {len(domains)} domains ({names}), and a static bundle is for one condition",
            "Freeze them one by one; or, if they are one condition, add --layout flat.",
        )


def _show(terminal: Terminal, done: FreezeResult, out: Path, batch_size: int, left_aside: Mapping[str, int]) -> None:
    terminal.skipped([(item.path, item.reason) for item in done.skipped])
    images = amount(done.static.images, "image", "images")
    if done.static.images < batch_size:
        terminal.warning(f"a sample of {images} is small: what is kept may suit these images alone")
    terminal.result(
        {
            "out": str(out),
            **done.static.model_dump(),
            "skipped": [{"path": item.path, "reason": item.reason} for item in done.skipped],
            "left_aside": dict(left_aside),
        },
        f"{images} of {done.static.target} in {amount(done.static.batches, 'batch', 'batches')}. Wrote {out}",
        f"Next: gformer evaluate --model {out} --target DIR, on labelled images of the same condition",
    )
