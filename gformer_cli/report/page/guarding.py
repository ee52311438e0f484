"""What the guard decided over time, from an audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gformer_cli.audit.summary import Group, Summary
from gformer_cli.console import amount, percent
from gformer_cli.report.page import figures, views
from gformer_cli.report.page.figures import Figure

COLOURS = {"generated": "#2f7fd6", "blended": "#a07f00", "source": "#7d848c"}
"""By decision."""


@dataclass(frozen=True)
class GuardView:
    """The section on the guard."""

    sentence: str
    warning: str
    figure: Figure
    table: views.Table
    reasons: views.Table | None
    colours: Mapping[str, str]


def guard_view(audit: Summary, warning: str = "") -> GuardView:
    """Sum up a log that holds at least one batch."""
    whole = audit.whole
    assert whole is not None
    periods = dict(sorted(audit.periods.items()))
    counts = {name: [group.decisions[name] for group in periods.values()] for name in COLOURS}
    drawn = figures.stacked("guard", counts, list(periods), COLOURS)
    kept = ", ".join(f"{whole.decisions[name]} {name}" for name in COLOURS)
    words = f"Batches by the guard's decision, a bar a {audit.unit}."
    return GuardView(
        f"{amount(whole.batches, 'batch', 'batches')} from {whole.first:%Y-%m-%d %H:%M} to "
        f"{whole.last:%Y-%m-%d %H:%M} UTC: {kept}.",
        warning,
        Figure(drawn, words, f"{words} In all {kept}.", wide=True),
        _over_time(audit.unit, periods),
        _reasons(audit),
        COLOURS,
    )


def _over_time(unit: str, periods: dict[str, Group]) -> views.Table:
    rows = [
        [
            views.name(period),
            *[views.number(float(count), "{:.0f}".format) for count in (group.batches, group.images, group.changed)],
            *[views.number(float(group.decisions[name]), "{:.0f}".format) for name in COLOURS],
            views.Value("") if group.confidence.mean is None else views.number(group.confidence.mean, percent),
        ]
        for period, group in periods.items()
    ]
    return views.Table(f"By {unit}", [unit, "batches", "images", "labels changed", *COLOURS, "confidence, %"], rows)


def _reasons(audit: Summary) -> views.Table | None:
    rows = [[views.name(name), views.number(float(n), "{:.0f}".format)] for name, n in audit.reasons.most_common()]
    return views.Table("Why the guard did not trust", ["signal out of range", "batches"], rows) if rows else None
