"""What the figures say, in three sentences, and what speaks against adapting."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gformer_cli.console import percent
from gformer_cli.evaluate.reading import Document
from gformer_cli.evaluate.results import REFERENCE, Summary
from gformer_cli.evaluate.trained import doubts
from gformer_cli.report.table import interval, points

BEARABLE = 0.005
"""Accuracy that a target may lose before the page warns."""


@dataclass(frozen=True)
class Verdict:
    """The judgement on one method."""

    subject: str
    """The method that is judged."""
    setting: tuple[str, int]
    """The stream and batch size of the three sentences."""
    sentences: list[str]
    warnings: list[str]
    """Empty where nothing speaks against adapting."""


def judge(document: Document) -> Verdict:
    """Judge `gformer`, or what else was measured, on the first stream."""
    setting = document.settings[0]
    summaries = document.methods(setting)
    subject = preferred(list(summaries))
    if subject == REFERENCE:
        return Verdict(
            subject, setting, ["Only the model as trained was measured, so nothing can be said of adapting."], []
        )
    summary = summaries[subject]
    sentences = [_gain(summary, summaries[REFERENCE]), _losses(summary), _price(summary)]
    warnings = [*doubts(document.bundle), *_doubts(summary), *_better(summary), *_elsewhere(document, subject, setting)]
    return Verdict(subject, setting, sentences, warnings)


def preferred(methods: Sequence[str]) -> str:
    """The method that a page is about: `gformer`, else what was named last; `source` where there is no other."""
    adapting = [name for name in methods if name != REFERENCE]
    return next((name for name in ("gformer", "gformer-guard", *reversed(adapting)) if name in adapting), REFERENCE)


def _gain(summary: Summary, source: Summary) -> str:
    found = summary.to_source
    assert found is not None
    verb = "gains" if found.mean >= 0.0 else "loses"
    count = len(summary.targets)
    where = f"on average over {count} targets" if count > 1 else "on one target"
    sure = "" if math.isnan(found.low) else f" (95 % interval {points(found.low)} to {points(found.high)})"
    return (
        f"Adapting with {summary.method} {verb} {abs(100 * found.mean):.1f} points of accuracy {where}{sure}: "
        f"{percent(source.accuracy)} % as trained, {percent(summary.accuracy)} % adapted."
    )


def _losses(summary: Summary) -> str:
    share = f"{percent(summary.harmed_batches)} % of batches have" if summary.harmed_batches else "no batch has"
    batches = f"{share} fewer right answers than without adapting"
    if summary.harm <= 0.0:
        return f"No target loses; {batches}."
    return f"{summary.worst_target} loses {100 * summary.harm:.1f} points, more than any other target; {batches}."


def _price(summary: Summary) -> str:
    text = f"It costs {summary.cost_ratio:.2f} × a plain prediction"
    best = summary.to_best_other
    if best is None or best.other == REFERENCE:
        return f"{text}."
    return f"{text}; against {best.other}, the best of the other methods, it stands at {interval(best)} points."


def _doubts(summary: Summary) -> list[str]:
    found: list[str] = []
    gain = summary.to_source
    assert gain is not None
    if gain.mean <= 0.0:
        found.append(f"Not worth it here: on average {summary.method} is no better than the model as trained.")
    elif math.isnan(gain.low):
        found.append("There was one batch only, so nothing tells how sure the gain is.")
    elif gain.low <= 0.0:
        found.append("This measurement cannot tell the gain from nothing: the interval holds 0.")
    if summary.harm > BEARABLE:
        found.append(f"It does harm on {summary.worst_target}: {100 * summary.harm:.1f} points are lost there.")
    return found


def _better(summary: Summary) -> list[str]:
    best = summary.to_best_other
    if best is None or best.other == REFERENCE or math.isnan(best.low) or best.low > 0.0:
        return []
    if best.high < 0.0:
        return [f"{best.other} is more accurate here: {summary.method} stands at {interval(best)} points against it."]
    return [
        f"{summary.method} cannot be told from {best.other} here ({interval(best)} points): compare what they cost."
    ]


def _elsewhere(document: Document, subject: str, setting: tuple[str, int]) -> list[str]:
    worse: list[str] = []
    harm: dict[bool, dict[str, list[tuple[float, str]]]] = {True: {}, False: {}}
    for stream, size in document.settings:
        found = document.methods((stream, size)).get(subject)
        if (stream, size) == setting or found is None or found.to_source is None:
            continue
        place = f"{stream} in batches of {size}"
        if found.to_source.high < 0.0:
            worse.append(f"{place} ({interval(found.to_source)} points)")
        elif found.harm > BEARABLE:
            told = f"{place} ({100 * found.harm:.1f} points on {found.worst_target})"
            harm[round(100 * found.to_source.mean, 1) > 0.0].setdefault(stream, []).append((found.harm, told))
    found_worse = [f"Worse than the model as trained, on average, on {', '.join(worse)}."] if worse else []
    bought = [f"A gain on average, but harm to one target, on {', '.join(_most(harm[True]))}."]
    vain = [f"No gain on average, and harm to one target, on {', '.join(_most(harm[False]))}."]
    return [*found_worse, *(bought if harm[True] else []), *(vain if harm[False] else [])]


def _most(harm: Mapping[str, list[tuple[float, str]]]) -> list[str]:
    """The worst place of each stream, of which there may be several batch sizes."""
    return [
        max(places)[1] + (f" and {len(places) - 1} other size{'s' if len(places) > 2 else ''}" if places[1:] else "")
        for places in harm.values()
    ]
