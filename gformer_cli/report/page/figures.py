"""Plots as inline SVG. Their ink is the page's, so they are right in light and in dark."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from gformer_cli.console import one_line
from gformer_cli.report.page.styles import Style

_INK, _LINE = "#010203", "#040506"
"""Stand for the page's colours of text and of thin lines until the drawing is done."""
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gformer",
    "text.parse_math": False,  # a name may hold dollars
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), _INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), _LINE),
}
TOGETHER, _ACROSS = 7, 3
"""Methods that are told apart in one drawing; panels of a row where there are more."""
NARROW, WIDE = 4.6, 8.6
"""Widths in inches; a wide figure scrolls inside of its frame on a small screen."""


@dataclass(frozen=True)
class Figure:
    """A drawing with what tells it in words."""

    svg: Markup
    caption: str
    alt: str
    wide: bool = False


def along_streams(
    name: str,
    curves: Mapping[str, Sequence[Sequence[float]]],
    targets: Sequence[str],
    styles: Mapping[str, Style],
    *,
    reference: str,
) -> Markup:
    """Accuracy along a stream: per method a curve for each target, side by side. NaN is a gap.

    More than `TOGETHER` methods get a panel each, with the `reference` in every one.
    """
    with matplotlib.rc_context(_RC):
        canvas, panels = _panels(curves, reference, WIDE, 2.7)
        for axes, methods in panels:
            for method in methods:
                for place, part in enumerate(curves[method]):
                    steps = [place + 0.06 + 0.88 * (number + 0.5) / len(part) for number in range(len(part))]
                    _line(axes, steps, [100.0 * value for value in part], styles[method], dots=len(part) < 3)
            for edge in range(1, len(targets)):
                axes.axvline(edge, color=_INK, linewidth=0.8)
            letters = max(3, (96 if len(panels) == 1 else 96 // _ACROSS) // max(1, len(targets)))
            axes.set_xticks(
                [place + 0.5 for place in range(len(targets))], [shortened(target, letters) for target in targets]
            )
            axes.tick_params(axis="x", length=0)
            axes.grid(visible=False, axis="x")
            axes.set_xlim(0, len(targets))
        return _svg(canvas, name)


def curves(
    name: str,
    curves: Mapping[str, Mapping[float, float]],
    styles: Mapping[str, Style],
    *,
    label: str,
    reference: str,
    log: bool = False,
) -> Markup:
    """Accuracy by a number such as the batch size, a curve a method; panels as in `along_streams`."""
    with matplotlib.rc_context(_RC):
        canvas, panels = _panels(curves, reference, NARROW if len(curves) <= TOGETHER else WIDE, 3.0)
        ticks = sorted({x for points in curves.values() for x in points})
        for axes, methods in panels:
            for method in methods:
                values = [100.0 * value for value in curves[method].values()]
                _line(axes, list(curves[method]), values, styles[method], dots=True)
            if log:
                axes.set_xscale("log")
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.minorticks_off()
        for axes, _ in panels[-_ACROSS:]:
            axes.set_xlabel(label)
        return _svg(canvas, name)


def is_wide(methods: Sequence[str] | Mapping[str, object]) -> bool:
    """Whether `curves` of these methods are drawn in panels."""
    return len(methods) > TOGETHER


def against_cost(name: str, points: Mapping[str, tuple[float, float]], styles: Mapping[str, Style]) -> Markup:
    """(cost, accuracy) per method, a dot each, named beside it."""
    with matplotlib.rc_context(_RC):
        canvas, axes = _axes(NARROW, 3.4)
        least, most = (pick(cost for cost, _ in points.values()) for pick in (min, max))
        for method, (cost, accuracy) in points.items():
            axes.plot([cost], [100.0 * accuracy], "o", color=styles[method].colour, markersize=7)
        axes.set_xscale("log")
        axes.set_xlim(least * 0.8, most * max(1.3, (most / least) ** 0.35))
        axes.margins(y=0.12)
        ticks = [tick for tick in (0.5, 1, 1.5, 2, 3, 5, 10, 20, 50, 100) if least * 0.8 <= tick <= most * 1.3]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        _name_dots(axes, {one_line(method): (cost, 100.0 * accuracy) for method, (cost, accuracy) in points.items()})
        axes.set_xlabel("cost, as a multiple of a plain prediction")
        axes.set_ylabel("accuracy in %")
        return _svg(canvas, name)


def reliability(name: str, lines: Mapping[str, Sequence[tuple[float, float]]], styles: Mapping[str, Style]) -> Markup:
    """(confidence, accuracy) of the bins, a line a method; on the diagonal confidence tells the truth."""
    with matplotlib.rc_context(_RC):
        canvas, axes = _axes(NARROW, 3.4)
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=":")
        for method, points in lines.items():
            style = styles[method]
            axes.plot(
                *zip(*points, strict=True), color=style.colour, linestyle=style.dash, linewidth=style.width, marker="."
            )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="confidence", ylabel="share that is right")
        return _svg(canvas, name)


def heat_maps(
    name: str, maps: Mapping[str, Sequence[Sequence[float]]], layers: Sequence[str], batches: Sequence[int]
) -> Markup:
    """Layers down and batches across, a map a figure; each from its own lowest to highest value."""
    with matplotlib.rc_context(_RC):
        height = min(5.0, max(1.7, 0.16 * len(layers) + 0.8))
        canvas = Canvas(figsize=(WIDE, height), layout="constrained")
        axes = canvas.subplots(1, len(maps), sharey=True, squeeze=False)[0]
        step = -(-len(layers) // 24)
        for place, (title, rows) in zip(axes, maps.items(), strict=True):
            columns = [list(column) for column in zip(*rows, strict=True)]
            values = [value for column in columns for value in column]
            place.imshow(columns, aspect="auto", interpolation="none", cmap="viridis")
            place.grid(visible=False)
            place.set_title(f"{title}\n{min(values):.2g} (dark) to {max(values):.2g} (light)")
            place.set_xlabel("batch")
            chosen = sorted({0, len(batches) // 2, len(batches) - 1})
            place.set_xticks(chosen, [str(batches[number]) for number in chosen])
        axes[0].set_yticks(range(0, len(layers), step), [shortened(layer, 26) for layer in layers[::step]], fontsize=7)
        return _svg(canvas, name)


def stacked(name: str, parts: Mapping[str, Sequence[int]], ticks: Sequence[str], colours: Mapping[str, str]) -> Markup:
    """Bars over time, made of counts that lie on each other."""
    with matplotlib.rc_context(_RC):
        canvas, axes = _axes(WIDE, 2.6)
        floor = [0] * len(ticks)
        for part, counts in parts.items():
            axes.bar(range(len(ticks)), counts, bottom=floor, color=colours[part], width=0.85)
            floor = [low + count for low, count in zip(floor, counts, strict=True)]
        step = -(-len(ticks) // 8)
        axes.set_xticks(range(0, len(ticks), step), list(ticks[::step]), fontsize=8)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("batches")
        return _svg(canvas, name)


def histograms(name: str, counts: Mapping[str, Sequence[int]], styles: Mapping[str, Style]) -> Markup:
    """How confidences are spread, from images in bins of one width between 0 and 1: an outline each."""
    with matplotlib.rc_context(_RC):
        canvas, axes = _axes(NARROW, 2.8)
        for method, found in counts.items():
            style = styles[method]
            edges = [number / len(found) for number in range(len(found) + 1)]
            axes.stairs(found, edges, color=style.colour, linestyle=style.dash, linewidth=style.width)
        axes.set(xlabel="confidence", ylabel="images", xlim=(0, 1))
        return _svg(canvas, name)


def shortened(text: str, letters: int) -> str:
    """A name that fits beside an axis."""
    text = one_line(text)
    return text if len(text) <= letters else text[: letters - 1] + "…"


def _name_dots(axes: Axes, dots: Mapping[str, tuple[float, float]]) -> None:
    """A name beside each dot, where it lies on no other dot or name; all in points of 1/72 inch."""
    places = {name: axes.transData.transform(dot) * 72.0 / axes.figure.dpi for name, dot in dots.items()}
    taken = [(x - 4, y - 4, x + 4, y + 4) for x, y in places.values()]
    for name, (x, y) in places.items():
        long = 4.8 * len(name)
        offsets = [(7.0, 0.0), (-7.0 - long, 0.0)]
        offsets += [
            (side, step * rise) for rise in range(10, 80, 10) for step in (1, -1) for side in (4.0, -4.0 - long)
        ]
        boxes = [(x + right, y + up - 5, x + right + long, y + up + 5) for right, up in offsets]
        free = [n for n, box in enumerate(boxes) if not any(_overlap(box, other) for other in taken)]
        best = free[0] if free else 0
        taken.append(boxes[best])
        axes.annotate(name, dots[name], offsets[best], textcoords="offset points", va="center", fontsize=8)


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _panels(
    methods: Sequence[str] | Mapping[str, object], reference: str, width: float, height: float
) -> tuple[Canvas, list[tuple[Axes, list[str]]]]:
    """Axes, each with the methods that are drawn there: all of a few in one, of many each beside the reference."""
    if len(methods) <= TOGETHER:
        canvas, axes = _axes(width, height)
        axes.set_ylabel("accuracy in %")
        return canvas, [(axes, list(methods))]
    others = [method for method in methods if method != reference]
    rows = -(-len(others) // _ACROSS)
    canvas = Canvas(figsize=(WIDE, 1.45 * rows + 0.4), layout="constrained")
    grid = list(canvas.subplots(rows, _ACROSS, sharex=True, sharey=True, squeeze=False).flat)
    for axes, method in zip(grid, others, strict=False):
        axes.set_title(shortened(method, 40))
    for axes in grid[len(others) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(others) - _ACROSS) : len(others)]:
        axes.tick_params(labelbottom=True)
    canvas.supylabel("accuracy in %", fontsize=9, color=_INK)
    return canvas, [(axes, [reference, method]) for axes, method in zip(grid, others, strict=False)]


def _line(axes: Axes, places: Sequence[float], values: Sequence[float], style: Style, *, dots: bool) -> None:
    axes.plot(
        places, values, color=style.colour, linestyle=style.dash, linewidth=style.width, marker="." if dots else ""
    )


def _axes(width: float, height: float) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.subplots()


def _svg(canvas: Canvas, name: str) -> Markup:
    text = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has other fonts
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        canvas.savefig(text, format="svg", transparent=True, metadata=nothing)
    drawing = text.getvalue()
    drawing = drawing[drawing.index("<svg") :].replace(_INK, "currentColor").replace(_LINE, "var(--line)")
    return Markup(re.sub("<[^>]+>", lambda tag: _own_ids(tag[0], name, drawing), drawing))


def _own_ids(tag: str, name: str, drawing: str) -> str:
    """`tag` with ids that no other drawing of the page has, and without those that nothing refers to."""
    if (found := re.search(r' id="([^"]*)"', tag)) and f"#{found[1]}" not in drawing:
        tag = tag.replace(found[0], "")
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", tag)
