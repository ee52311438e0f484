"""`gformer compare`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal, percent, table

if TYPE_CHECKING:
    from gformer_cli.evaluate.compare import Comparison


def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="Results of the one before.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="Results of the one after.", show_default=False)],
    report: options.Report = None,
    overwrite: options.Overwrite = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Put two evaluations side by side, such as two models or two releases, on the targets that both have.

    A difference is B less A; its 95 % interval is there where both were measured on the same batches.

    Example: gformer compare before/results.json now/results.json --report compared.html
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    if report is not None:
        from gformer_cli.report.page.files import check_report

        check_report(report, overwrite=overwrite)

    from gformer_cli.evaluate.compare import compare as find
    from gformer_cli.evaluate.reading import read_results

    one, other = read_results(a), read_results(b)
    found = find(one, other)
    for text in (*[f"only in A: {what}" for what in found.only_a], *[f"only in B: {what}" for what in found.only_b]):
        terminal.message(text)
    if report is not None:
        from gformer_cli.report.page.comparison import comparison_page
        from gformer_cli.report.page.files import write_report

        write_report(report, comparison_page(one, other, found))
    terminal.result(
        {
            "a": one.bundle,
            "b": other.bundle,
            "rows": _document(found),
            "only_a": found.only_a,
            "only_b": found.only_b,
        },
        _table(found),
        *([f"\nWrote {report}"] if report is not None else []),
    )


def _document(found: Comparison) -> list[dict[str, Any]]:
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return [
        {
            "stream": row.stream,
            "batch_size": row.batch_size,
            "method": row.method,
            "a": row.accuracy[0],
            "b": row.accuracy[1],
            "difference": row.difference.mean,
            "low": finite(row.difference.low),
            "high": finite(row.difference.high),
            "targets": {name: list(pair) for name, pair in row.targets.items()},
            **{name: [getattr(row.a, name), getattr(row.b, name)] for name in ("harm", "cost_ratio")},
            "ece": [finite(row.a.ece), finite(row.b.ece)],
        }
        for row in found.rows
    ]


def _table(found: Comparison) -> Any:
    from gformer_cli.report.table import interval

    rows = [
        [
            row.stream,
            str(row.batch_size),
            row.method,
            *[percent(value) for value in row.accuracy],
            interval(row.difference),
            f"{percent(row.a.harm)} → {percent(row.b.harm)}",
            f"{row.a.cost_ratio:.2f} → {row.b.cost_ratio:.2f}",
        ]
        for row in found.rows
    ]
    columns = ["stream", "batch", "method", "A", "B", "B less A", "harm", "x plain forward"]
    return table("Accuracy in %", columns, rows, numbers_from=3)
