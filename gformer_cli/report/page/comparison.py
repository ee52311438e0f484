"""The page of two evaluations side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from gformer_cli.console import percent
from gformer_cli.evaluate.compare import Comparison, Row
from gformer_cli.evaluate.reading import Document
from gformer_cli.report.page.rendering import render
from gformer_cli.report.page.verdict import preferred
from gformer_cli.report.page.views import Table, Value, difference, name, number
from gformer_cli.report.table import interval, points


def comparison_page(a: Document, b: Document, found: Comparison) -> str:
    """The page; `found` is what `evaluate.compare` made of the two."""
    by_stream = groupby(found.rows, key=lambda row: (row.stream, row.batch_size))
    return render(
        "comparison.html",
        a=a,
        b=b,
        found=found,
        sentences=_sentences(found.rows),
        tables=[_table(stream, size, list(rows)) for (stream, size), rows in by_stream],
    )


def _sentences(rows: Sequence[Row]) -> list[str]:
    """What happened to the method that is judged, stream by stream."""
    subject = preferred([row.method for row in rows])
    found: list[str] = []
    for row in (row for row in rows if row.method == subject):
        change = row.difference
        place = f"on {row.stream} in batches of {row.batch_size}"
        moved = f"{percent(row.accuracy[0])} % in A, {percent(row.accuracy[1])} % in B ({interval(change)} points)"
        if math.isnan(change.low):
            judged = "no interval, because the batches differ or there is only one"
        elif change.low > 0.0:
            judged = "B is better"
        elif change.high < 0.0:
            judged = "B is worse"
        else:
            judged = "the two cannot be told apart"
        found.append(f"{subject} {place}: {moved}; {judged}.")
    return found


def _table(stream: str, size: int, rows: Sequence[Row]) -> Table:
    targets = list(dict.fromkeys(target for row in rows for target in row.targets))
    shown: list[list[Value]] = []
    for row in rows:
        cells = [name(row.method), *(number(value, percent) for value in row.accuracy), difference(row.difference)]
        for target in targets:
            before, now = row.targets.get(target, (math.nan, math.nan))
            if math.isnan(now):
                cells.append(Value(""))
            else:
                note = f"{percent(before)} → {percent(now)}"
                cells.append(Value(points(now - before), now - before, note, harm=round(now - before, 3) < 0.0))
        for figure, show in (("harm", percent), ("ece", "{:.3f}".format), ("cost_ratio", "{:.2f}".format)):
            was, is_now = getattr(row.a, figure), getattr(row.b, figure)
            cells.append(number(is_now, lambda value, was=was, show=show: f"{show(was)} → {show(value)}"))  # type: ignore[misc]
        shown.append(cells)
    caption = f"Accuracy in %, stream {stream}, batches of {size}; a target's change in points"
    return Table(caption, ["method", "A", "B", "B less A", *targets, "harm", "ECE", "× plain cost"], shown)
