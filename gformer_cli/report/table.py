"""The results as terminal tables, one a stream."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from gformer_cli.console import amount, percent, table
from gformer_cli.data.catalogue import CATALOGUE
from gformer_cli.evaluate.estimates import TITLES, Missed
from gformer_cli.evaluate.harm import COLUMNS, Harm, by_cell
from gformer_cli.evaluate.limits import Change
from gformer_cli.evaluate.plan import SHIFTS
from gformer_cli.evaluate.results import Choice, Difference, Results, Summary
from gformer_cli.evaluate.series import along
from gformer_cli.evaluate.trained import with_validation
from gformer_cli.metrics import mean

BARS = "▁▂▃▄▅▆▇█"
SPARKS = 12
"""Bars of a sparkline, at most."""


def result_tables(results: Results, *, sparklines: bool = False) -> list[Table]:
    """Per stream: accuracy in % per target (per batch size in `batch-sizes`), its average, gain, harm and cost.

    With `sparklines` also accuracy along the stream, from the lowest of the table to its highest.
    """
    summaries = results.summaries()
    made: list[Table] = []
    for stream in dict.fromkeys(summary.stream for summary in summaries):
        own = [summary for summary in summaries if summary.stream == stream]
        if len({summary.batch_size for summary in own}) > 1:
            made.append(_by_batch_size(stream, own, results.bundle))
        else:
            drawn = _sparklines(results, own) if sparklines and stream != SHIFTS else {}
            made.append(_by_target(stream, own, drawn, results.bundle))
        if stream == SHIFTS:
            made.append(_by_severity(results))
    return made


def harm_tables(found: Sequence[Harm], *, every_cell: bool = False) -> list[Table]:
    """Over all cells of an evaluation: the worst loss of each method to `source`; with `every_cell` also each loss.

    None where there is no method beside `source`.
    """
    if not found:
        return []
    rows = [[h.method, place, lost(most), percent(h.bearable)] for h in found for place, most in [h.lost_most]]
    title = (
        f"Lost to source over {amount(len(found[0].cells), 'cell', 'cells')} (target x stream x batch size), in points"
    )
    made = [table(title, COLUMNS, rows, numbers_from=2)]
    if every_cell:
        made.append(_every_cell(found))
    return made


def calibration_tables(summaries: Sequence[Summary]) -> list[Table]:
    """Per stream the calibration error of methods that a temperature was fitted for, without and with it.

    None where there is no such method.
    """
    known = [summary for summary in summaries if not math.isnan(summary.ece_calibrated)]
    methods = list(dict.fromkeys(summary.method for summary in known))
    rows = [
        [
            stream,
            str(size),
            *[f"{percent(one.ece)} to {percent(one.ece_calibrated)}" for one in known if _place(one) == (stream, size)],
        ]
        for stream, size in dict.fromkeys(map(_place, known))
    ]
    title = "Expected calibration error in %, at temperature 1 and as calibrated"
    return [table(title, ["stream", "batch", *methods], rows, numbers_from=2)] if known else []


def estimate_tables(found: Sequence[Missed]) -> list[Table]:
    """How far each estimator is from the accuracy of each method, over all cells. None where nothing was guessed."""
    if not found:
        return []
    names = [name for name in TITLES if any(name in one.errors for one in found)]
    rows = [
        [one.method, *[f"{100 * one.errors[name]:.1f}" if name in one.errors else "-" for name in names]]
        for one in found
    ]
    cells = amount(max(one.cells for one in found), "cell", "cells")
    title = f"Accuracy as guessed without labels: mean error over {cells}, in points"
    return [table(title, ["method", *[TITLES[name] for name in names]], rows)]


def _place(summary: Summary) -> tuple[str, int]:
    return summary.stream, summary.batch_size


def _every_cell(found: Sequence[Harm]) -> Table:
    rows = [
        [stream, str(size), target, *map(lost, losses)] for (stream, size, target), losses in by_cell(found).items()
    ]
    columns = ["stream", "batch", "target", *[h.method for h in found]]
    return table("Lost to source in points, every cell", columns, rows, numbers_from=3)


def tuned_table(choices: Mapping[str, Choice]) -> Table:
    """What --tune chose."""
    rows = [
        [name, _settings(choice.settings), percent(choice.accuracy), percent(choice.default_accuracy)]
        for name, choice in choices.items()
    ]
    return table(
        "Chosen on held-out source images, accuracy in %",
        ["method", "settings", "chosen", "default"],
        rows,
        numbers_from=2,
    )


def change_table(changes: Sequence[Change]) -> Table:
    """Averages then and now."""
    rows = [
        [c.stream, str(c.batch_size), c.method, percent(c.before), percent(c.now), points(c.now - c.before)]
        + (["worse"] if c.regressed else [""])
        for c in changes
    ]
    columns = ["stream", "batch", "method", "before", "now", "change", ""]
    return table("Compared with the baseline, accuracy in %", columns, rows, numbers_from=3)


def _by_target(stream: str, summaries: Sequence[Summary], drawn: Mapping[str, str], bundle: Mapping[str, Any]) -> Table:
    targets = summaries[0].targets
    columns = _groups(targets) if stream == SHIFTS else {target: [target] for target in targets}
    best = max(s.accuracy for s in summaries)
    rows: list[list[str | Text]] = [
        [
            s.method,
            *[percent(mean(s.targets[name] for name in names)) for names in columns.values()],
            Text(_with_error(s), "bold" if s.accuracy == best else ""),
            interval(s.to_source),
            Text(f"{100 * s.harm:.1f}", "red" if round(s.harm, 3) > 0.0 else ""),
            f"{s.cost_ratio:.2f}",
            *([drawn[s.method]] if drawn else []),
        ]
        for s in summaries
    ]
    title = with_validation(f"Accuracy in %, stream {stream}, batches of {summaries[0].batch_size}", bundle)
    shown = ["method", *columns, "average", "to source", "harm", "x plain forward"]
    return table(title, [*shown, *(["along"] if drawn else [])], rows)


def _sparklines(results: Results, summaries: Sequence[Summary]) -> dict[str, str]:
    """Per method; none where there are fewer than two batches to draw."""
    setting = summaries[0].stream, summaries[0].batch_size
    curves = {s.method: along(results.of(s.method, setting), SPARKS) for s in summaries}
    low, high = (pick(value for curve in curves.values() for value in curve) for pick in (min, max))
    return {m: sparkline(curve, low, high) for m, curve in curves.items() if len(curve) > 1}


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """A bar a value, between `low` and `high`."""
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in values)


def _by_batch_size(stream: str, summaries: Sequence[Summary], bundle: Mapping[str, Any]) -> Table:
    sizes = sorted({summary.batch_size for summary in summaries})
    rows = [
        [
            method,
            *[percent(s.accuracy) for size in sizes for s in summaries if (s.method, s.batch_size) == (method, size)],
        ]
        for method in dict.fromkeys(summary.method for summary in summaries)
    ]
    title = with_validation(f"Accuracy in %, stream {stream}, by batch size", bundle)
    return table(title, ["method", *map(str, sizes)], rows)


def _by_severity(results: Results) -> Table:
    cells = [cell for cell in results.cells if cell.stream == SHIFTS]
    severities = sorted({cell.severity or 0 for cell in cells})
    rows = [
        [
            method,
            *[percent(mean(c.accuracy for c in cells if (c.method, c.severity) == (method, s))) for s in severities],
        ]
        for method in results.methods
    ]
    title = with_validation("Mean accuracy in % over corruptions, by severity", results.bundle)
    return table(title, ["method", *map(str, severities)], rows)


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "defaults"


def _groups(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(CATALOGUE[name].group if name in CATALOGUE else name, []).append(name)
    return found


def _with_error(summary: Summary) -> str:
    error = "" if math.isnan(summary.standard_error) else f" ± {100 * summary.standard_error:.1f}"
    return percent(summary.accuracy) + error


def interval(difference: Difference | None) -> str:
    """A difference in percentage points with its interval, where it has one."""
    if difference is None:
        return ""
    if math.isnan(difference.low):
        return points(difference.mean)
    return f"{points(difference.mean)} [{points(difference.low)}, {points(difference.high)}]"


def lost(loss: float) -> str:
    """A loss of accuracy in percentage points; what is gained is negative. None where there is no figure."""
    return "" if math.isnan(loss) else f"{round(100 * loss, 1) + 0.0:.1f}"


def points(difference: float) -> str:
    """A difference of shares in percentage points, with its sign; nothing is never negative."""
    return f"{round(100 * difference, 1) + 0.0:+.1f}"
