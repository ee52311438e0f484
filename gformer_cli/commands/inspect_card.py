"""What `gformer inspect` shows of a generator file. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gformer_cli.console import table

if TYPE_CHECKING:
    from gformer_cli.bundle import GeneratorFileHeader, LearntRun


def card_rows(header: GeneratorFileHeader) -> list[list[str]]:
    """Names and values of what a file holds as a whole."""
    card, kind = header.card, header.generator.settings
    tasks = sorted({run.task for run in card.runs})
    networks = sorted({run.network.backbone for run in card.runs})
    learnt = f"{len(card.runs)} runs: {len(tasks)} tasks, {len(networks)} networks"
    return [
        ["format", str(header.format_version)],
        [
            "generator",
            f"{kind.kind}, width {kind.width}, depth {kind.depth}, {header.generator.parameters:,} parameters",
        ],
        ["probe", kind.probe],
        ["prior count", f"{kind.prior_count:g}"],
        ["learnt on", learnt if card.runs else "nothing: untrained"],
        ["tasks", ", ".join(tasks) or "none"],
        ["networks", ", ".join(networks) or "none"],
        ["steps", f"{card.steps:,}, {card.episodes:,} episodes"],
        ["went on from", f"SHA-256 {card.start}" if card.start else "an untrained generator"],
        ["calibration", ", ".join(f"{name} {value:g}" for name, value in card.calibration.items()) or "none"],
        ["made with", ", ".join(f"{name} {version}" for name, version in header.versions.items())],
        ["content hash", header.content_hash or "not recorded"],
    ]


def card_tables(header: GeneratorFileHeader) -> list[Any]:
    """What it has learnt on run by run, by which licences, and its figures with the commands that made them."""
    card = header.card
    shown: list[Any] = []
    if card.runs:
        columns = ["task", "domains", "classes", "images", "network", "width", "layers", "weights", "seed"]
        shown += ["", table("Learnt on", columns, [_run_row(run) for run in card.runs])]
    if card.licences:
        rows = [[item.name, item.licence, item.package] for item in card.licences]
        shown += ["", table("Licences of the data", ["data", "licence", "from"], rows, numbers_from=3)]
    for figures in card.figures:
        rows = [[name, f"{value:g}"] for name, value in figures.values.items()]
        shown += ["", table(f"Figures of: {figures.command}", ["figure", "value"], rows)]
    return shown


def _run_row(run: LearntRun) -> list[str]:
    network = run.network
    layers = ", ".join(f"{count} {family}" for family, count in network.norms.items())
    numbers = [str(len(run.domains)), str(len(run.classes)), f"{run.images:,}"]
    return [run.task, *numbers, network.backbone, f"{network.width:g}", layers, network.weights, str(run.seed)]
