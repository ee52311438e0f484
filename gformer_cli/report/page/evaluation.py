"""The page of one evaluation, made from its results alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain

from gformer_cli.audit.summary import Summary as AuditSummary
from gformer_cli.data.streams import SOURCE_AGAIN
from gformer_cli.evaluate.harm import harms
from gformer_cli.evaluate.plan import EXAMINED, SHIFTS
from gformer_cli.evaluate.reading import Document
from gformer_cli.evaluate.results import REFERENCE, Cell, Picture
from gformer_cli.evaluate.series import along, chunks
from gformer_cli.evaluate.trained import with_validation
from gformer_cli.metrics import BINS, mean
from gformer_cli.report.page import figures, views
from gformer_cli.report.page.figures import Figure
from gformer_cli.report.page.guarding import GuardView, guard_view
from gformer_cli.report.page.rendering import render
from gformer_cli.report.page.styles import Style, styles
from gformer_cli.report.page.verdict import Verdict, judge

POINTS = 40
"""Of a curve along one target: longer streams are shown in so many steps."""
MAPS = 6
"""Streams whose inside is drawn."""
SHOWN_PICTURES = 60


@dataclass(frozen=True)
class StreamView:
    """One kind of stream."""

    name: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[views.Table] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True)
class PictureGroup:
    title: str
    pictures: list[Picture]


def evaluation_page(document: Document, audit: AuditSummary | None = None) -> str:
    """The page; with the summary of an audit log, what the guard decided over time."""
    verdict = judge(document)
    main = list(document.methods(verdict.setting).values())
    known = styles([s.method for s in main], subject=verdict.subject, reference=REFERENCE)
    stream, size = verdict.setting
    caption = with_validation(f"Accuracy in %, stream {stream}, batches of {size}", document.bundle)
    return render(
        "evaluation.html",
        document=document,
        verdict=verdict,
        styles=known,
        targets=views.targets_table(caption, main),
        harm=views.harm_tables(harms(document.summaries)),
        streams=list(_streams(document, known)),
        cost=_cost(document, verdict, known),
        costs=views.cost_table(f"What predicting costs, stream {stream}, batches of {size}", main),
        calibration=_calibration(document, verdict, known),
        calibrations=views.calibration_table(
            f"Can the probabilities be trusted? Lower is better. Stream {stream}", main
        ),
        inside=list(_inside(document))[:MAPS],
        groups=_pictures(document.cells),
        changes=_changes(document, verdict),
        examined=any(cell.details is not None for cell in document.cells),
        guard=None if audit is None else _guard(document, audit),
    )


def _guard(document: Document, audit: AuditSummary) -> GuardView:
    others = [sha for sha in audit.bundles if sha != document.bundle.get("sha256")]
    return guard_view(audit, "This log is of another bundle than the results." if others else "")


def _streams(document: Document, known: dict[str, Style]) -> Iterable[StreamView]:
    for stream in dict.fromkeys(name for name, _ in document.settings):
        sizes = [size for name, size in document.settings if name == stream]
        by_size = {size: list(document.methods((stream, size)).values()) for size in sizes}
        ident = f"stream-{stream}"
        if len(sizes) > 1:
            curves = {
                method: {float(size): s.accuracy for size in sorted(sizes) for s in by_size[size] if s.method == method}
                for method in known
            }
            drawn = figures.curves(ident, curves, known, label="images in a batch", reference=REFERENCE, log=True)
            words = f"Stream {stream}: accuracy by batch size, a curve a method.{_beside(known)}"
            caption = with_validation(f"Accuracy in %, stream {stream}, by batch size", document.bundle)
            table = views.sizes_table(caption, by_size)
            told = f"{words} The table has the figures."
            yield StreamView(stream, [Figure(drawn, words, told, wide=figures.is_wide(known))], [table])
            continue
        setting = (stream, sizes[0])
        drawn_here = [_severities(document, setting, known) if stream == SHIFTS else _along(document, setting, known)]
        first = setting == document.settings[0]
        caption = with_validation(f"Accuracy in %, stream {stream}, batches of {sizes[0]}", document.bundle)
        # the first stream's table is at the top of the page
        tables = [] if first else [views.targets_table(caption, by_size[sizes[0]])]
        yield StreamView(stream, drawn_here, tables, _forgotten(document, setting))


def _along(document: Document, setting: tuple[str, int], known: dict[str, Style]) -> Figure:
    cells = document.of(setting)
    targets = list(dict.fromkeys(cell.target for cell in cells))
    curves = {
        method: [along([c for c in cells if c.method == method and c.target == target], POINTS) for target in targets]
        for method in known
    }
    drawn = figures.along_streams(f"stream-{setting[0]}", curves, targets, known, reference=REFERENCE)
    words = f"Stream {setting[0]}: accuracy along each target, in the order of the stream.{_beside(known)}"
    return Figure(drawn, words, f"{words} Methods that collapse fall from left to right.", wide=True)


def _severities(document: Document, setting: tuple[str, int], known: dict[str, Style]) -> Figure:
    cells = document.of(setting)
    severities = sorted({cell.severity or 0 for cell in cells})
    curves = {
        method: {
            float(severity): mean(c.accuracy for c in cells if c.method == method and (c.severity or 0) == severity)
            for severity in severities
        }
        for method in known
    }
    label = "severity of the corruption"
    drawn = figures.curves(f"stream-{setting[0]}", curves, known, label=label, reference=REFERENCE)
    words = f"Stream {SHIFTS}: mean accuracy over the corruptions, by their severity.{_beside(known)}"
    told = f"{words} The table has the figures by corruption."
    return Figure(drawn, words, told, wide=figures.is_wide(known))


def _beside(known: dict[str, Style]) -> str:
    return f" Each method beside {REFERENCE}, dashed." if figures.is_wide(known) else ""


def _forgotten(document: Document, setting: tuple[str, int]) -> str:
    found = {s.method: s.targets[SOURCE_AGAIN] for s in document.methods(setting).values() if SOURCE_AGAIN in s.targets}
    if not found:
        return ""
    lost = [
        f"{method} {100 * (found[REFERENCE] - value):.1f} points"
        for method, value in found.items()
        if value < found[REFERENCE]
    ]
    return f"Back at the source after all targets, the model as trained has {100 * found[REFERENCE]:.1f} %; " + (
        f"lost there: {', '.join(lost)}." if lost else "no method has lost anything there."
    )


def _cost(document: Document, verdict: Verdict, known: dict[str, Style]) -> Figure:
    summaries = document.methods(verdict.setting).values()
    drawn = figures.against_cost("cost", {s.method: (s.cost_ratio, s.accuracy) for s in summaries}, known)
    words = "Accuracy against cost, a dot a method: up and to the left is better."
    return Figure(drawn, words, f"{words} The table has the figures.")


def _calibration(document: Document, verdict: Verdict, known: dict[str, Style]) -> Figure:
    lines: dict[str, list[tuple[float, float]]] = {}
    for method in dict.fromkeys((REFERENCE, verdict.subject)):
        sums = [[0.0, 0.0, 0.0] for _ in range(BINS)]
        for cell in document.of(verdict.setting, method):
            for count, confidence, accuracy in cell.calibration:
                place = sums[min(BINS - 1, max(0, math.ceil(confidence * BINS - 1e-9) - 1))]
                place[0] += count
                place[1] += count * confidence
                place[2] += count * accuracy
        lines[method] = [(confidence / count, right / count) for count, confidence, right in sums if count]
    drawn = figures.reliability("calibration", lines, known)
    words = f"Confidence against the share that is right, before ({REFERENCE}) and after ({verdict.subject})."
    return Figure(drawn, f"{words} On the dotted line confidence tells the truth; under it, it is too high.", words)


def _inside(document: Document) -> Iterable[Figure]:
    for number, (setting, part) in enumerate(dict.fromkeys((c.setting, c.part) for c in document.cells)):
        kept = [c.details.inside for c in document.of(setting) if c.part == part and c.details is not None]
        rows = sorted(
            chain.from_iterable(
                zip(one.batches, one.change, one.moved, one.mixing, strict=True) for one in kept if one.layers
            )
        )
        if not rows:
            continue
        batches, change, moved, mixing = (list(column) for column in zip(*rows, strict=True))
        layers = next(one.layers for one in kept if one.layers)
        maps = {"generated change": change, "statistics moved": moved, "share of the batch": mixing}
        drawn = figures.heat_maps(f"inside-{number}", maps, layers, batches)
        words = f"Stream {setting[0]}, {part}: layers down, batches across."
        alt = f"{words} {_layers_told(layers, change, moved, mixing)}"
        yield Figure(drawn, alt, words, wide=True)


def _layers_told(layers: Sequence[str], *figures_of: Sequence[Sequence[float]]) -> str:
    change, moved, mixing = ([mean(column) for column in zip(*rows, strict=True)] for rows in figures_of)
    most, far = change.index(max(change)), moved.index(max(moved))
    return (
        f"Most is generated for {layers[most]} ({max(change):.2g} of its source values), statistics moved most in "
        f"{layers[far]}, and {100 * mean(mixing):.0f} % of the batch's own statistics are used on average."
    )


def _pictures(cells: Sequence[Cell]) -> list[PictureGroup]:
    found: list[Picture] = []
    for picture in (p for cell in cells if cell.details is not None for p in cell.details.pictures):
        # an image comes in several streams; one of them is enough
        if all(picture.path != other.path for other in found):
            found.append(picture)
    groups = [
        PictureGroup("Wrong before, right now", [p for p in found if p.after == p.label]),
        PictureGroup("Right before, wrong now", [p for p in found if p.before == p.label]),
        PictureGroup("Wrong before and now", [p for p in found if p.label not in (p.after, p.before)]),
    ]
    most = SHOWN_PICTURES // len(groups)
    return [PictureGroup(group.title, _spread(group.pictures, most)) for group in groups if group.pictures]


def _changes(document: Document, verdict: Verdict) -> list[views.Table]:
    """Which labels of the source model `gformer` changed into which, on the stream that the verdict is about."""
    counts = Counter[tuple[str, str]]()
    truth: dict[tuple[str, str], tuple[int, int]] = {}
    details = (cell.details for cell in document.of(verdict.setting) if cell.details is not None)
    for one in chain.from_iterable(found.answers for found in details):
        pair = one.before, one.after
        counts[pair] += one.images
        gained, lost = truth.get(pair, (0, 0))
        truth[pair] = gained + one.gained, lost + one.lost
    return views.change_tables(counts, document.bundle.get("classes", []), REFERENCE, EXAMINED, truth)


def _spread(pictures: list[Picture], most: int) -> list[Picture]:
    """At most so many, from all places alike."""
    return [part[0] for part in chunks(pictures, most)]
