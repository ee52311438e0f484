"""`gformer diff`."""

from __future__ import annotations

import json as json_text
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gformer_cli.commands import options
from gformer_cli.commands.locations import pick_model
from gformer_cli.console import Terminal, table
from gformer_cli.errors import WorkError

if TYPE_CHECKING:
    from gformer_cli.bundle.diff import Difference, LayerChange, PartChange

SHOWN = 20
"""Layers, fields and names shown without --verbose."""
_LONG = 60
_TITLES = {
    "model": "Network",
    "source": "Source model, before adapting",
    "generator": "Generator",
    "constant": "Constant generator",
}


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A bundle: the one before.", show_default=False)],
    b: Annotated[
        Path | None,
        typer.Argument(metavar="B", help="A bundle: the one after. Default: RUN/model.gformer.", show_default=False),
    ] = None,
    run: options.Run = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 when they differ; without it a difference is no failure.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Show what changed from bundle A to bundle B: header fields, then tensors layer by layer, largest change first.

    A change is relative: the norm of the difference over the norm in A. Of a static bundle the parameters that it kept
    are compared. Exit status 0 when done, whatever was found; --exit-code makes a difference a failure.

    Example: gformer diff model.gformer static.gformer
    """
    from gformer_cli.bundle.diff import diff as compare

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    b = pick_model(terminal, b, run)
    found = compare(a, b)
    terminal.result(_document(a, b, found), *_shown(found, None if verbose else SHOWN))
    if exit_code and not found.same:
        raise WorkError(f"{a} and {b} differ", "Without --exit-code this is no failure.")


def _document(a: Path, b: Path, found: Difference) -> dict[str, Any]:
    return {
        "a": str(a),
        "b": str(b),
        "same": found.same,
        "header": [vars(field) for field in found.header],
        **{
            name: {
                "same": part.same,
                "equal": part.equal,
                "layers": [
                    {
                        "layer": layer.layer,
                        "kind": layer.kind,
                        "change": _finite(layer.change),
                        "tensors": {tensor: _finite(change) for tensor, change in layer.tensors.items()},
                    }
                    for layer in part.layers
                ],
                "only_a": part.only_a,
                "only_b": part.only_b,
                "reshaped": part.reshaped,
            }
            for name, part in found.parts.items()
        },
    }


def _finite(change: float) -> float | None:
    return change if math.isfinite(change) else None  # JSON has no infinity


def _shown(found: Difference, most: int | None) -> list[Any]:
    if found.same:
        return ["The two bundles are the same."]
    parts: list[Any] = []
    if found.header:
        rows = [[field.key, _short(field.a, most), _short(field.b, most)] for field in found.header]
        parts += [table("Header", ["field", "A", "B"], rows[:most], numbers_from=3), *_more(len(rows), most, "fields")]
    else:
        parts.append("Header: the same")
    for name, part in found.parts.items():
        parts += ["", *_part(_TITLES[name], part, most)]
    return parts


def _part(title: str, part: PartChange, most: int | None) -> list[Any]:
    if part.same:
        return [f"{title}: the same, {part.equal} tensors"]
    if part.only_a and not (part.equal or part.layers or part.only_b or part.reshaped):
        return [f"{title}: in A only, {len(part.only_a)} tensors"]
    if part.only_b and not (part.equal or part.layers or part.only_a or part.reshaped):
        return [f"{title}: in B only, {len(part.only_b)} tensors"]
    shown: list[Any] = []
    if part.layers:
        rows = [[layer.layer, layer.kind, _percent(layer.change), _tensors(layer)] for layer in part.layers]
        shown += [
            table(f"{title}, by layer", ["layer", "kind", "change", "of which"], rows[:most], numbers_from=4),
            *_more(len(rows), most, "layers"),
        ]
    shown.append(f"{title}: {part.equal} tensors are the same, {sum(len(x.tensors) for x in part.layers)} changed")
    for what, names in (
        ("in A only", part.only_a),
        ("in B only", part.only_b),
        ("of another shape", [f"{name} {one} to {other}" for name, (one, other) in part.reshaped.items()]),
    ):
        if names:
            rest = "" if most is None or len(names) <= 3 else ", ..."
            listed = names if most is None else names[:3]
            shown.append(f"{title}: {len(names)} tensors {what}: {', '.join(listed)}{rest}")
    return shown


def _tensors(layer: LayerChange) -> str:
    ordered = sorted(layer.tensors.items(), key=lambda item: -item[1])
    return ", ".join(f"{name} {_percent(change)}" for name, change in ordered)


def _percent(change: float) -> str:
    return (
        f"{100 * change:.2g} %" if 100 * change < 10 else f"{100 * change:.0f} %" if change < math.inf else "from zero"
    )


def _short(value: Any, most: int | None) -> str:
    text = "" if value is None else value if isinstance(value, str) else json_text.dumps(value, ensure_ascii=False)
    return text if most is None or len(text) <= _LONG else text[: _LONG - 4] + " ..."


def _more(count: int, most: int | None, noun: str) -> list[str]:
    return [] if most is None or count <= most else [f"... {noun} left out: {count - most}; --verbose shows all"]
