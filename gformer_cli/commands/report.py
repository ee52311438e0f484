"""`gformer report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.commands.locations import pick_document, pick_page
from gformer_cli.console import Terminal


def report(
    results: Annotated[
        Path | None,
        typer.Argument(
            metavar="RESULTS.json",
            help="What gformer evaluate wrote. Default: RUN/results/results.json.",
            show_default=False,
        ),
    ] = None,
    run: options.Run = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE.html",
            help="The page to write. Default: report.html beside the results.",
            show_default=False,
        ),
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            "--audit",
            metavar="AUDIT.jsonl",
            help="What gformer adapt --audit wrote: shows what the guard decided over time.",
            show_default=False,
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Draw the results of an evaluation as one page that opens from disk, for people who do not read JSON.

    Layers and changed images are on it where evaluate was called with --examine or --report.

    Example: gformer report
    """
    from gformer_cli.report.page.files import check_report, write_report

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    results = pick_document(terminal, results, run)
    out = pick_page(terminal, out, results)
    check_report(out, overwrite=overwrite)

    from gformer_cli.audit.records import Damage, read_log
    from gformer_cli.audit.summary import summarise
    from gformer_cli.evaluate.reading import read_results
    from gformer_cli.report.page.evaluation import evaluation_page
    from gformer_cli.report.page.verdict import judge

    document = read_results(results)
    damage = Damage()
    summary = None if audit is None else summarise(record for _, record in read_log(audit, damage))
    if damage.count:
        terminal.warning(
            f"{damage.count} damaged lines of {audit} are not on the page, the first is line {damage.lines[0][0]}"
        )
    write_report(out, evaluation_page(document, summary))
    verdict = judge(document)
    terminal.result(
        {"out": str(out), "subject": verdict.subject, "verdict": verdict.sentences, "warnings": verdict.warnings},
        *verdict.sentences,
        *[f"Before you deploy: {text}" for text in verdict.warnings],
        f"\nWrote {out}",
    )
