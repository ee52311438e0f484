"""`gformer inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gformer_cli.commands import options
from gformer_cli.commands.inspect_card import card_rows, card_tables
from gformer_cli.commands.inspect_graph import check_graph, graph_rows
from gformer_cli.commands.locations import pick_model
from gformer_cli.console import Terminal, amount, percent, table
from gformer_cli.errors import WorkError
from gformer_cli.images.depth import Levels
from gformer_cli.images.wording import describe_input

if TYPE_CHECKING:
    from gformer_cli.bundle import BundleHeader


def inspect(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="A .gformer bundle, a generator file or an exported .onnx file. Default: RUN/model.gformer.",
            show_default=False,
        ),
    ] = None,
    run: options.Run = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Recompute the content hash; exit with 1 when the file is not as it was written."
        ),
    ] = False,
    parent: Annotated[
        Path | None,
        typer.Option(
            "--parent",
            metavar="FILE",
            help="Verify, and exit with 1 unless the file was made from this one.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Show what a bundle, a generator file or an exported file holds and where it came from. No tensor is loaded.

    `gformer inspect universal` shows the generator that comes with gformer.

    Example: gformer inspect --verify
    """
    from gformer_cli.bundle import generator_path, is_generator_file, read_generator_header, read_header
    from gformer_cli.bundle import verify as check
    from gformer_cli.config import to_yaml
    from gformer_cli.export.header import is_graph_file, read_graph_header

    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)
    file = generator_path(pick_model(terminal, file, run))
    if is_graph_file(file):
        graph = read_graph_header(file)
        check_graph(file, graph, parent, verify=verify)
        shown = [*graph_rows(graph), ["", ""], *_rows(graph.bundle)]
        terminal.result(graph.model_dump(mode="json"), table("", ["", str(file)], shown, numbers_from=2))
        return
    if is_generator_file(file):
        card = read_generator_header(file)
        document: dict[str, Any] = card.model_dump(mode="json")
        rows, more = card_rows(card), card_tables(card)
        settings = card.generator.settings.model_dump_json(indent=2)
    else:
        header = read_header(file)
        document = header.model_dump(mode="json")
        rows, more = _rows(header), []
        settings = to_yaml(header.settings)
    found = check(file, parent) if verify or parent is not None else None
    if found is not None:
        document["verified"] = not found.problems
        document["problems"] = list(found.problems)
    if found is not None and not found.problems:
        rows.append(["verified", "as it was written" + (f", and made from {parent}" if parent else "")])
    terminal.result(document, table("", ["", str(file)], rows, numbers_from=2), *more)
    terminal.details(settings)
    if found is not None and found.problems:
        raise WorkError(
            f"{file} does not verify: {'; '.join(found.problems)}",
            "Restore it from a copy, or make it again: whatever this gformer writes records its hash and its parent.",
        )


def _white_rows(header: BundleHeader) -> list[list[str]]:
    """What is white in images of more than 8 bits, where anybody knows."""
    stated = header.preprocessing.white_level
    if stated is not None:
        return [["white level", f"{stated:.10g}"]]
    found = [f"{Levels(*pair)} in {kind} samples" for kind, pair in header.levels.items()]
    return [["white level", ", ".join(found)]] if found else []


def _layer_rows(header: BundleHeader) -> list[list[str]]:
    """Which normalisation layers are adapted, and which are not."""
    if header.layers is None:
        return []
    rows = [["adapted layers", ", ".join(f"{count} {kind}" for kind, count in header.layers.adapted.items())]]
    left = [f"{name} ({reason})" for name, reason in header.layers.unadapted.items()]
    if left:
        rows.append(["not adapted", f"{len(left)}: {', '.join(left[:4])}{' ...' if len(left) > 4 else ''}"])
    return rows


def _rows(header: BundleHeader) -> list[list[str]]:
    images = {name: sum(counts.values()) for name, counts in header.data.domains.items()}
    kind = header.generator.settings
    untrained = header.lineage is not None and header.lineage.stage == "import" and header.lineage.parent is None
    shape = "" if kind.kind == "constant" else f", width {kind.width}, depth {kind.depth}"
    made = f"{kind.kind}{shape}, {header.generator.parameters:,} parameters" + (", untrained" if untrained else "")
    static = header.static
    return [
        ["format", str(header.format_version)],
        [
            "classes",
            f"{len(header.classes)}: {', '.join(header.classes[:12])}{' ...' if len(header.classes) > 12 else ''}",
        ],
        ["input", describe_input(header.preprocessing)],
        *_white_rows(header),
        ["backbone", f"{header.backbone.name}, stem {header.backbone.stem}, width {header.backbone.width:g}"],
        *_layer_rows(header),
        ["generator", made if static is None else f"none: static. What is kept was generated by {made}"],
        *_generator_rows(header),
        *(
            []
            if static is None
            else [
                [
                    "kept from",
                    f"{static.target}: {amount(static.images, 'image', 'images')} in "
                    f"{amount(static.batches, 'batch', 'batches')}",
                ],
                ["sample fingerprint", static.fingerprint[:16]],
            ]
        ),
        ["probe", kind.probe],
        *_origin_rows(header),
        ["source domains", ", ".join(f"{name} ({count} images)" for name, count in images.items()) or "not known"],
        ["data fingerprint", header.data.fingerprint[:16] or "not known"],
        *_trained_rows(header),
        ["validation", ", ".join(f"{name} {percent(value)} %" for name, value in header.validation.items()) or "none"],
        *([] if static is not None else _guard_rows(header)),
        ["temperatures", _temperatures(header)],
        ["accuracy guessed", _estimators(header)],
        ["made by", _made_by(header)],
        ["made with", ", ".join(f"{name} {version}" for name, version in header.versions.items())],
        ["content hash", header.content_hash or "not recorded"],
    ]


def _generator_rows(header: BundleHeader) -> list[list[str]]:
    """The file that the generator is from, or that it went on from in training."""
    lineage = header.lineage
    if header.static is not None or lineage is None or lineage.parent is None:
        return []
    what = "its file" if lineage.stage == "import" else "went on from"
    return [[what, f"{lineage.parent_name} (SHA-256 {lineage.parent})"]]


def _origin_rows(header: BundleHeader) -> list[list[str]]:
    """Where an imported source model came from."""
    origin = header.origin
    if origin is None:
        return []
    entry = f", entry {origin.entry}" if origin.entry else ""
    file = f" (SHA-256 {origin.sha256})" if origin.sha256 else ""
    mapped = f", {len(header.class_map)} folders by a map" if header.class_map else ""
    return [
        ["imported from", f"{origin.weights}{entry}{file}"],
        ["its tensors", f"SHA-256 {origin.tensors}"],
        ["its classes", f"from {origin.classes}{mapped}"],
        ["its transform", f"from {origin.transform}"],
    ]


def _trained_rows(header: BundleHeader) -> list[list[str]]:
    """How well the source model was trained."""
    data = header.data
    if data.validation_accuracy is None:
        return []
    rising = ", still rising when training ended" if data.still_rising else ""
    return [["source model", f"{percent(data.validation_accuracy)} % on validation images{rising}"]]


def _temperatures(header: BundleHeader) -> str:
    """What makes probabilities of logits, and what that is worth."""
    found = header.temperatures
    if found is None:
        return "1: not calibrated"
    sides = []
    for name, value in (("source", found.source), ("adapted", found.adapted)):
        error = [found.figures[key] for key in (f"ece_{name}", f"ece_{name}_calibrated") if key in found.figures]
        sides.append(f"{name} {value:g}" + (f" (ECE {' to '.join(map(percent, error))} %)" if error else ""))
    return f"{', '.join(sides)}, on {amount(found.images, 'shifted source image', 'shifted source images')}"


def _estimators(header: BundleHeader) -> str:
    """By what accuracy is guessed without labels, and how well that went on source images."""
    found = {} if header.temperatures is None else header.temperatures.estimators
    sides = []
    for name, side in found.items():
        off = [f"{estimator} {100.0 * value:.1f}" for estimator, value in side.missed.items()]
        sides.append(f"{name} {', '.join(off)}")
    return f"points off on source images: {'; '.join(sides)}" if sides else "no: nothing was fitted"


def _made_by(header: BundleHeader) -> str:
    lineage = header.lineage
    if lineage is None:
        return "not recorded"
    of_bundle = header.static is not None and lineage.parent is not None
    origin = f" from {lineage.parent_name} (SHA-256 {lineage.parent})" if of_bundle else ""
    return f"gformer {lineage.stage}{origin}"


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
