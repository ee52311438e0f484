"""The findings of `gformer data check` as text and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from gformer_cli.console import LISTED, amount, one_line, table
from gformer_cli.data.check import CheckReport


def check_summary(report: CheckReport, *, verbose: bool) -> list[str | Table]:
    """What to print: counts, then errors, then notes; at most a few files of a kind without `verbose`."""
    limit = None if verbose else LISTED
    counts = [table("", ["domain", "class", "images"], list(_count_rows(report, verbose)), numbers_from=2)]
    errors = [
        *_section("unreadable image", "unreadable images", [f"{s.path}: {s.reason}" for s in report.unreadable], limit)
    ]
    errors += _section(
        "empty class folder",
        "empty class folders",
        [f"{domain}: {name}" for domain, name in report.empty_classes],
        limit,
    )
    warnings = [
        *_section("image that is nearly black", "images that are nearly black", report.nearly_black, limit),
        *_section("image that is nearly white", "images that are nearly white", report.nearly_white, limit),
    ]
    if warnings and report.told:
        warnings.append("  Is the white level right? --white-level (and data.white_level in training) sets another.")
    notes = _section(
        "domain that lacks classes",
        "domains that lack classes",
        [f"{d.name}: {', '.join(d.missing)}" for d in report.domains if d.missing],
        limit,
    )
    across = [d for d in report.duplicates if d.across_classes]
    notes += _section("image under two labels", "images under two labels", [" = ".join(d.paths) for d in across], limit)
    same = [d for d in report.duplicates if not d.across_classes]
    notes += _section(
        "image that is there twice", "images that are there twice", [" = ".join(d.paths) for d in same], limit
    )
    for kind, paths in report.odd_modes.items():
        notes += _section(f"image with {kind}", f"images with {kind}", paths, limit)
    notes += _section("file that is no image", "files that are not images", report.ignored, limit)
    return [
        *counts,
        "",
        *_sizes(report),
        *(f"{line[0].upper()}{line[1:]}." for line in report.told),
        *(["", "Errors", *errors] if errors else []),
        *(["", "Warnings", *warnings] if warnings else []),
        *(["", "Notes", *notes] if notes else []),
        *([] if errors else ["", "No errors."]),
    ]


def _count_rows(report: CheckReport, verbose: bool) -> Iterator[list[str]]:
    for domain in report.domains:
        counts = list(domain.classes.values())
        yield [domain.name, _spread(counts), str(domain.images)]
        if verbose:
            yield from (["", name, str(count)] for name, count in domain.classes.items())


def _spread(counts: Sequence[int]) -> str:
    if not counts:
        return "unlabelled"
    least, most = min(counts), max(counts)
    each = amount(most, "image", "images") if least == most else f"{least} to {most} images"
    return f"{amount(len(counts), 'class', 'classes')}, {each}{' each' if len(counts) > 1 else ''}"


def _section(one: str, many: str, items: Sequence[str], limit: int | None) -> list[str]:
    if not items:
        return []
    shown = [f"    {one_line(item)}" for item in items[:limit]]
    more = [f"    ... and {len(items) - len(shown)} more: --verbose lists all"] if len(items) > len(shown) else []
    return [f"  {amount(len(items), one, many)}", *shown, *more]


def _sizes(report: CheckReport) -> list[str]:
    if report.sizes is None:
        return []
    sizes = report.sizes
    if sizes.different == 1:
        return [f"All images are {_size(sizes.most_common)} pixels."]
    return [
        f"{sizes.different} sizes: {_size(sizes.smallest)} to {_size(sizes.largest)} pixels, "
        f"most often {_size(sizes.most_common)}."
    ]


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
