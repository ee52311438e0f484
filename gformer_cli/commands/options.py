"""Options that several commands share: one spelling, one help text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from gformer_cli.compute import threads as threads_module
from gformer_cli.compute.threads import MOST_THREADS, Cores
from gformer_cli.console import Terminal
from gformer_cli.folders.domains import Layout
from gformer_cli.networks.own_code import own_code
from gformer_cli.preset_files import preset_names
from gformer_cli.seeding import LARGEST_SEED

_LARGEST = 1e9
"""Of a number: thirty years, where it means seconds."""
_traceback = False
_command: list[str] = []


def wants_traceback() -> bool:
    """Whether --debug was given."""
    return _traceback


def remember_command(arguments: Sequence[str]) -> None:
    """Keep the command line (without the program's name) that is run."""
    _command[:] = arguments


def command_line() -> str:
    """The command that is run, as a shell takes it."""
    return shlex.join(["gformer", *_command])


def _remember_debug(value: bool) -> None:
    global _traceback
    _traceback = value


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither auto nor a whole number from 0 on")
    return int(text)


def sources_again(sources: Sequence[Path]) -> str:
    """The --source options of the next command."""
    return " ".join(f"--source {shlex.quote(str(folder))}" for folder in sources)


def own_backbone_again(name: str) -> str:
    """What the next command needs as well, where the network is of the user's own code."""
    return f" --backbone {shlex.quote(name)}" if own_code(name) else ""


def not_negative(text: str) -> float:
    """An option's number that is 0 or more, and finite: `min` lets "nan" pass."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= _LARGEST:
        raise typer.BadParameter(f"{text!r} is not a number from 0 to {_LARGEST:g}")
    return value


def _white_level(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a number above 0, such as 4095")
    return value


def _temperature(text: str) -> float:
    from gformer_cli.settings import TEMPERATURES

    least, most = TEMPERATURES
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not least <= value <= most:
        raise typer.BadParameter(f"{text!r} is not a number from {least:g} to {most:g}")
    return value


Source = Annotated[
    list[Path],
    typer.Option(
        "--source",
        metavar="DIR",
        help="Labelled images: a domain (DIR/class/image), a root of domains (DIR/domain/class/image), a table (.csv, "
        ".parquet), a list (.txt) or shards ('NAME-{000..127}.tar'). Repeatable.",
        show_default=False,
    ),
]
Run = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="The run folder, for what is not named otherwise. Default: gformer-run.",
        show_default=False,
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        help="The bundle that meta-train, import or freeze wrote. Default: RUN/model.gformer.",
        show_default=False,
    ),
]
PredictingModel = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        help="The bundle that meta-train, import or freeze wrote, or an .onnx file. Default: RUN/model.gformer.",
        show_default=False,
    ),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        help="resnet18, timm:NAME, or your own code as FILE.py:FUNCTION, which is run.",
        show_default=False,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="default or a name such as IMAGENET1K_V2 (download), none (from scratch), or a state-dict file.",
        show_default=False,
    ),
]
ImageSize = Annotated[int | None, typer.Option("--image-size", help="Height and width in pixels.", show_default=False)]
LeaveOneDomainOut = Annotated[
    bool | None,
    typer.Option(
        "--leave-one-out/--no-leave-one-out",
        help="Also train, for each domain, a model without it. Without them meta-training has only simulated "
        "shifts to learn from, which costs accuracy on real ones.",
        show_default=False,
    ),
]
ClassMap = Annotated[
    Path | None,
    typer.Option(
        "--class-map",
        metavar="FILE.csv",
        help="The class of folders that are not named after it: CSV with the header folder,class.",
        show_default=False,
    ),
]
Copies = Annotated[
    int | None,
    typer.Option(
        "--leave-one-domain-out",
        metavar="N",
        min=0,
        help="Of an imported model: fine-tune a copy for N steps without each domain, for its episodes. The "
        "imported model stays as it is. Default: 0, no copies.",
        show_default=False,
    ),
]
OwnBackbone = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="FILE.py:FUNCTION",
        help="Your own network's code, for what was trained with it. It is run.",
        show_default=False,
    ),
]
WhiteLevel = Annotated[
    float | None,
    typer.Option(
        "--white-level",
        parser=_white_level,
        metavar="SAMPLE",
        help="What is white in images of more than 8 bits, such as 4095 for 12-bit cameras. Default: as in training, "
        "or what the folder's images show.",
        show_default=False,
    ),
]
LayoutOption = Annotated[
    Layout, typer.Option("--layout", help="How the folders are nested, where it can be read in two ways.")
]
Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME|FILE",
        help="Settings to start from; see gformer presets list.",
        autocompletion=preset_names,
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, such as pretrain.steps=500. Repeatable."),
]
Seed = Annotated[
    int | None,
    typer.Option("--seed", min=0, max=LARGEST_SEED, help="Seed of every random choice.", show_default=False),
]
BatchSize = Annotated[int, typer.Option("--batch-size", help="Images that are predicted together.")]
ContextBatches = Annotated[
    int,
    typer.Option(
        "--context",
        metavar="N",
        min=0,
        help="Pool the statistics of the last N batches of the same domain or named target. It pays most for batches "
        "of a few images.",
    ),
]
Probabilities = Annotated[bool, typer.Option("--probabilities", help="Add one column per class.")]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        parser=_temperature,
        metavar="T",
        help="Divide logits by T before they become confidences, those of the source model too; labels stay as they "
        "are. 1 leaves them as the network gives them. Default: what was fitted on source images, else 1.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        parser=_workers,
        metavar="N|auto",
        help="Threads or processes that read images; 0: the main one does. Default: auto, one a core, at most eight.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        metavar="N",
        min=1,
        max=MOST_THREADS,
        help="Threads that compute at once, in all processes together. Default: up to one a core, as many as pay.",
        show_default=False,
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at an unreadable image instead of skipping it.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run stopped.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


class Precision(str, Enum):
    """What images are predicted in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    auto = "auto"


PrecisionOption = Annotated[
    Precision,
    typer.Option(
        "--precision",
        help="bfloat16 is faster on hardware that has it, and rounds more; auto: bfloat16 on GPUs that have it.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen; touch nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, everything else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no messages but warnings.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More detail.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_remember_debug, help="Show the traceback of an error.")]
Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Write one page for people as well; needs pip install 'gformer\\[report]'.",
        show_default=False,
    ),
]


def read_class_map(path: Path | None, classes: Sequence[str]) -> dict[str, str]:
    """What --class-map says; nothing without it. Raises `InputError` for a class that is none of `classes`."""
    from gformer_cli.importing.classes import check_class_map
    from gformer_cli.importing.classes import read_class_map as read

    return {} if path is None else check_class_map(read(path), classes)


def pick_cores(terminal: Terminal, threads: int | None) -> Cores:
    """The cores to compute on; --verbose tells how many and why."""
    cores = threads_module.pick_cores(threads)
    terminal.detail(f"threads: {'' if cores.fixed else 'up to '}{cores.count} ({cores.reason})")
    return cores


def domain_rows(domains: list[Any]) -> list[list[str]]:
    """Rows `domain, classes, images, fewest and most per class` for a dry run."""
    rows = []
    for domain in domains:
        counts = list(domain.counts.values()) or [0]
        rows.append(
            [
                domain.name,
                str(len(domain.classes)),
                str(len(domain.files)),
                str(min(counts)),
                str(max(counts)),
            ]
        )
    return rows


DOMAIN_COLUMNS = ["domain", "classes", "images", "fewest per class", "most per class"]
