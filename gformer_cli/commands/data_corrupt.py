"""`gformer data corrupt`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.found import find_images
from gformer_cli.console import Terminal, amount
from gformer_cli.folders.domains import Layout


def corrupt(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Image folders.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.", show_default=False)],
    corruptions: Annotated[
        list[str] | None,
        typer.Option(
            "--corruptions",
            metavar="NAMES",
            help="Names such as fog,rain, groups such as blur, all (gformer's own 22) or imagenet-c. Repeatable. "
            "Default: all.",
            show_default=False,
        ),
    ] = None,
    severity: Annotated[
        list[int] | None,
        typer.Option("--severity", min=1, max=5, help="Repeatable. Default: all, 1 to 5.", show_default=False),
    ] = None,
    seed: options.Seed = None,
    layout: options.LayoutOption = Layout.auto,
    white_level: options.WhiteLevel = None,
    workers: options.Workers = None,
    strict: options.Strict = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Write corrupted copies of labelled images: OUT/KIND-SEVERITY/CLASS/FILE, each a target for gformer evaluate.

    Example: gformer data corrupt photos --out corrupted --corruptions fog,motion-blur --severity 3
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)

    from gformer_cli.compute.device import pick_workers
    from gformer_cli.compute.pace import one_thread
    from gformer_cli.data.catalogue import ALL, choose_corruptions
    from gformer_cli.data.corrupt import Wish, check_corrupted, domain_names, write_corrupted
    from gformer_cli.data.corruptions import SEVERITIES

    severities = sorted({*(severity or SEVERITIES)})
    wish = Wish(choose_corruptions(corruptions or [ALL]), severities, seed or 0)
    check_corrupted(out, folders, overwrite=overwrite)
    domains = find_images(terminal, folders, layout, strict=strict).domains
    count = sum(len(domain.files) for domain in domains)
    names = list(domain_names(domains, wish).values())
    told = {"out": str(out), "corruptions": wish.corruptions, "severities": severities, "seed": wish.seed}
    if dry_run:
        copies = count * len(wish.corruptions) * len(severities)
        terminal.result(
            {"dry_run": True, **told, "domains": names, "images": copies},
            f"Would write {_counted(copies, len(names))} below {out}: "
            f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''}",
            "Dry run: nothing was touched.",
        )
        return
    with terminal.progress() as progress, one_thread():
        progress.begin("images", count)
        done = write_corrupted(
            domains,
            wish,
            out,
            workers=pick_workers(workers),
            strict=strict,
            white_level=white_level,
            advance=progress.advance,
        )
        progress.end()
    terminal.skipped([(item.path, item.reason) for item in done.skipped])
    terminal.result(
        {**told, "images": done.images, "skipped": [vars(item) for item in done.skipped]},
        f"Wrote {_counted(sum(done.images.values()), len(done.images))} below {out}",
        f"\nNext: gformer evaluate --target {shlex.quote(str(out))}",
    )


def _counted(images: int, domains: int) -> str:
    return f"{amount(images, 'image', 'images')} of {amount(domains, 'domain', 'domains')}"
