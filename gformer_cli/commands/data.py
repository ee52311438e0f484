"""`gformer data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.found import find_images
from gformer_cli.console import Terminal, table
from gformer_cli.errors import WorkError
from gformer_cli.folders.domains import Layout

app = typer.Typer(help="Validate image folders; make the demo data sets.", no_args_is_help=True)


@app.command("demo")
def demo(
    name: Annotated[str, typer.Argument(help="rotated-mnist or digit-cameras.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.", show_default=False)],
    seed: options.Seed = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Write a demo data set of real digits as image folders DIR/sources and DIR/targets.

    digit-cameras has DIR/classifier as well: weights, classes and transform of a trained network, for gformer import.

    Example: gformer data demo digit-cameras --out data
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)

    from gformer_cli.data.demo.write import check_demo, write_demo

    check_demo(name, out, overwrite=overwrite)
    written = write_demo(name, out, seed=seed or 0)
    rows = [[*key.split("/"), str(count)] for key, count in written.items()]
    terminal.result(
        {"name": name, "out": str(out), "images": written},
        table("", ["folder", "domain", "images"], rows, numbers_from=2),
        f"\nWrote {sum(written.values())} images below {out}",
    )


@app.command("check")
def check(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Image folders.", show_default=False)],
    layout: options.LayoutOption = Layout.auto,
    white_level: options.WhiteLevel = None,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Validate image folders: domains, classes, counts; unreadable, duplicate and odd files.

    Exits with 1 when an image is unreadable or a class folder is empty.

    Example: gformer data check data/sources data/targets
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    found = find_images(terminal, folders, layout, unlabelled=True)
    domains = found.domains

    from gformer_cli.compute.device import pick_workers
    from gformer_cli.data.check import check_folders
    from gformer_cli.report.check import check_summary

    with terminal.progress() as progress:
        progress.begin("reading images", sum(len(domain.files) for domain in domains))
        report = check_folders(
            domains, aside=found.aside, workers=pick_workers(workers), white_level=white_level, advance=progress.advance
        )
        progress.end()
    terminal.result(report.to_json(), *check_summary(report, verbose=verbose))
    if not report.ok:
        raise WorkError(
            "the folders have errors", "They are listed above; training and adapting skip unreadable images."
        )
