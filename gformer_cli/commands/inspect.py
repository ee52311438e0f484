"""`gformer inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal, percent, table

if TYPE_CHECKING:
    from gformer_cli.bundle import BundleHeader


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .gformer bundle.", show_default=False)],
    json: options.Json = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Show what a bundle holds and where it came from. No tensor is loaded.

    Example: gformer inspect runs/site/model.gformer --json
    """
    from gformer_cli.bundle import read_header
    from gformer_cli.config import to_yaml

    terminal = Terminal(as_json=json, verbose=verbose)
    header = read_header(file)
    images = {name: sum(counts.values()) for name, counts in header.data.domains.items()}
    validation = ", ".join(f"{name} {percent(value)} %" for name, value in header.validation.items())
    kind = header.generator.settings
    shape = "" if kind.kind == "constant" else f", width {kind.width}, depth {kind.depth}"
    rows = [
        ["format", str(header.format_version)],
        [
            "classes",
            f"{len(header.classes)}: {', '.join(header.classes[:12])}{' ...' if len(header.classes) > 12 else ''}",
        ],
        [
            "input",
            f"{header.preprocessing.image_size} x {header.preprocessing.image_size}, {header.preprocessing.resize}",
        ],
        ["backbone", f"{header.backbone.name}, stem {header.backbone.stem}, width {header.backbone.width:g}"],
        ["generator", f"{kind.kind}{shape}, {header.generator.parameters:,} parameters"],
        ["probe", kind.probe],
        ["source domains", ", ".join(f"{name} ({count} images)" for name, count in images.items())],
        ["data fingerprint", header.data.fingerprint[:16]],
        ["validation", validation],
        *_guard_rows(header),
        ["made with", ", ".join(f"{name} {version}" for name, version in header.versions.items())],
    ]
    terminal.result(header.model_dump(mode="json"), table("", ["", str(file)], rows, numbers_from=2))
    terminal.detail(to_yaml(header.settings))


def _guard_rows(header: BundleHeader) -> list[list[str]]:
    if header.guard is None:
        return [["guard", "not calibrated"]]
    found = header.guard.figures
    flagged = [
        f"{name.removeprefix('flagged_').replace('_', ' ')} {percent(value)} %"
        for name, value in found.items()
        if name.startswith("flagged_")
    ]
    gain = found.get("gain", 0.0)
    kept = f", {percent(found.get('gain_guarded', 0.0) / gain)} % of it kept" if gain > 0.0 else ""
    return [
        ["guard limits", ", ".join(f"{name} {value:.3g}" for name, value in header.guard.rule.limits.items())],
        ["guard flags", f"of held-out batches: {', '.join(flagged)}"],
        ["guard gain", f"{_points(gain)} without{kept}"],
        [
            "guard harm",
            f"{_points(found.get('harm', 0.0))} without, {_points(found.get('harm_guarded', 0.0))} with, at worst",
        ],
    ]


def _points(value: float) -> str:
    return f"{100.0 * value:.1f} points"
