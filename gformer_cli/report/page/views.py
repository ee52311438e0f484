"""Tables of a page: what is shown, what it is sorted by, and what stands out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from gformer_cli.console import amount, percent
from gformer_cli.evaluate.harm import COLUMNS, Harm, by_cell, in_words
from gformer_cli.evaluate.results import REFERENCE, Difference, Summary
from gformer_cli.report.table import interval, lost, points

CHANGES, CROSSED = 30, 15
"""Changes of a label that are listed, and classes whose answers are crossed."""


@dataclass(frozen=True)
class Value:
    """One cell of a table."""

    text: str
    value: float | str = ""
    """What the column is sorted by, to the last digit."""
    note: str = ""
    """Smaller, after the text."""
    best: bool = False
    harm: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]] = field(default_factory=list)


def name(text: str) -> Value:
    return Value(text, text)


def number(value: float, show: Callable[[float], str], *, best: bool = False, harm: bool = False) -> Value:
    """A figure; nothing where it does not exist."""
    return Value("") if math.isnan(value) else Value(show(value), value, best=best, harm=harm)


def targets_table(caption: str, summaries: Sequence[Summary]) -> Table:
    """Methods down and targets across, with the difference to the source model and its interval under each accuracy."""
    source = next(s for s in summaries if s.method == REFERENCE)
    targets = list(source.targets)
    best = {target: max(s.targets[target] for s in summaries) for target in targets}
    best_average = max(s.accuracy for s in summaries)
    rows = []
    for s in summaries:
        row = [name(s.method)]
        for target in targets:
            accuracy, change = s.targets[target], s.targets[target] - source.targets[target]
            found = s.to_source_by_target.get(target)
            # without its space it is folded before the interval, not inside it
            note = "" if s is source else interval(found).replace(", ", ",") if found else points(change)
            # a loss that rounds to nothing is none
            row.append(Value(percent(accuracy), accuracy, note, accuracy == best[target], round(change, 3) < 0.0))
        error = "" if math.isnan(s.standard_error) else f"± {percent(s.standard_error)}"
        row.append(Value(percent(s.accuracy), s.accuracy, error, s.accuracy == best_average))
        row.append(difference(s.to_source))
        row.append(number(s.harm, percent, harm=round(s.harm, 3) > 0.0))
        row.append(number(s.harmed_batches, percent))
        row.append(number(s.cost_ratio, "{:.2f}".format))
        rows.append(row)
    columns = ["method", *targets, "average", "to source, 95 % interval", "harm", "harmed batches, %", "× plain cost"]
    return Table(caption, columns, rows)


def difference(found: Difference | None) -> Value:
    """A difference in points with its interval."""
    if found is None:
        return Value("")
    return Value(interval(found), found.mean, harm=found.high < 0.0)


def harm_tables(found: Sequence[Harm]) -> list[Table]:
    """Over all cells of an evaluation: what each method loses to the source model at worst, and in each cell."""
    if not found:
        return []
    rows = [
        [name(h.method), name(place), number(most, lost, harm=most > 0.0), number(h.bearable, percent)]
        for h in found
        for place, most in [h.lost_most]
    ]
    every = [
        [
            name(in_words(*place)),
            *[number(loss, lost, harm=round(loss, 3) > 0.0) for loss in losses],
        ]
        for place, losses in by_cell(found).items()
    ]
    count = f"{amount(len(every), 'cell', 'cells')} (target, stream, batch size)"
    return [
        Table(f"Lost to source in points, over {count}", COLUMNS, rows),
        Table(f"Lost to source in points, each of {count}", ["cell", *[h.method for h in found]], every),
    ]


def sizes_table(caption: str, by_size: Mapping[int, Sequence[Summary]]) -> Table:
    """Methods down and batch sizes across."""
    sizes = sorted(by_size)
    plain = {size: _accuracy(by_size[size], REFERENCE) for size in sizes}
    best = {size: max(s.accuracy for s in by_size[size]) for size in sizes}
    rows = []
    for method in dict.fromkeys(s.method for size in sizes for s in by_size[size]):
        row = [name(method)]
        for size in sizes:
            accuracy = _accuracy(by_size[size], method)
            change = accuracy - plain[size]
            note = "" if method == REFERENCE else points(change)
            row.append(Value(percent(accuracy), accuracy, note, accuracy == best[size], round(change, 3) < 0.0))
        rows.append(row)
    return Table(caption, ["method", *[f"batches of {size}" for size in sizes]], rows)


def change_tables(
    answers: Mapping[tuple[str, str], int],
    classes: Sequence[str],
    before: str,
    after: str,
    truth: Mapping[tuple[str, str], tuple[int, int]] | None = None,
) -> list[Table]:
    """Images by the labels of two models, `before` and `after`: which labels became which, and all answers crossed.

    Of many classes those alone whose labels changed most. `truth`, where it is known, has for each pair of labels how
    many images `after` alone gets right, and how many `before` alone. None where no label changed.
    """
    changed = {pair: count for pair, count in answers.items() if pair[0] != pair[1]}
    if not changed:
        return []
    given, touched = Counter[str](), Counter[str]()
    for (old, new), count in answers.items():
        given[old] += count
        if old != new:
            touched.update({old: count})
            touched.update({new: count})
    most = sorted(changed, key=lambda pair: (-changed[pair], pair))[:CHANGES]
    rows = [
        [
            name(f"{old} → {new}"),
            number(float(changed[old, new]), "{:.0f}".format),
            number(changed[old, new] / given[old], percent),
            *(number(float(count), "{:.0f}".format) for count in (() if truth is None else truth[old, new])),
        ]
        for old, new in most
    ]
    some = f", the most frequent {len(most)} of {len(changed)}" if len(most) < len(changed) else ""
    columns = [f"{before} → {after}", "images", "share of the label before, %"]
    columns += [] if truth is None else ["right now", "right before"]
    busiest = set(sorted(touched, key=lambda one: (-touched[one], one))[:CROSSED])
    shown = [one for one in classes if one in busiest]
    crossed = [
        [name(old), *(number(float(answers.get((old, new), 0)), _count, best=old == new) for new in shown)]
        for old in shown
    ]
    caption = f"Images by label: {before} down, {after} across"
    caption += f"; {len(shown)} of {len(classes)} classes" if len(shown) < len(classes) else ""
    return [Table(f"Changes of labels{some}", columns, rows), Table(caption, [before, *shown], crossed)]


def _count(value: float) -> str:
    return f"{value:.0f}" if value else ""


def cost_table(caption: str, summaries: Iterable[Summary]) -> Table:
    rows = [
        [
            name(s.method),
            number(s.accuracy, percent),
            number(s.cost_ratio, "{:.2f}".format),
            number(s.forwards, "{:.2f}".format),
            number(s.backwards, "{:.2f}".format),
            number(s.peak_mib, "{:.1f}".format),
        ]
        for s in summaries
    ]
    columns = [
        "method",
        "accuracy, %",
        "× plain cost",
        "forward passes an image",
        "backward passes an image",
        "memory, MiB",
    ]
    return Table(caption, columns, rows)


def calibration_table(caption: str, summaries: Sequence[Summary]) -> Table:
    """With the calibration error at fitted temperatures where any method has one."""
    fitted = any(not math.isnan(s.ece_calibrated) for s in summaries)
    shown = {
        "ece": "calibration error (ECE)",
        **({"ece_calibrated": "ECE, calibrated"} if fitted else {}),
        "nll": "negative log-likelihood",
        "brier": "Brier score",
    }
    lowest = {
        measure: min((v for s in summaries if not math.isnan(v := getattr(s, measure))), default=math.nan)
        for measure in shown
    }
    rows = [
        [name(s.method)] + [number(getattr(s, m), "{:.3f}".format, best=getattr(s, m) == lowest[m]) for m in shown]
        for s in summaries
    ]
    return Table(caption, ["method", *shown.values()], rows)


def _accuracy(summaries: Sequence[Summary], method: str) -> float:
    return next((s.accuracy for s in summaries if s.method == method), math.nan)
