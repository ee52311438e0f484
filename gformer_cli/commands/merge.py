"""`gformer merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal


def merge(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="DIR...", help="The --out folders of all shards, in any order.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for results.json and results.csv; must be new or empty.",
            show_default=False,
        ),
    ],
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Put together what gformer evaluate --shard I/N measured in parts: the results of one evaluation.

    Example: gformer merge shard-1 shard-2 --out results
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)

    from gformer_cli.evaluate.merging import merged
    from gformer_cli.evaluate.output import check_output
    from gformer_cli.report.table import result_tables

    output = check_output(out, overwrite=overwrite, resume=False)
    results = merged(folders)
    output.begin(resume=False)
    output.write(results)
    terminal.skipped([(item.path, item.reason) for item in results.skipped])
    terminal.result(
        results.to_json(),
        *[part for table in result_tables(results, sparklines=terminal.draws) for part in ("", table)][1:],
        f"\nWrote {output.results} and {output.table}",
    )
