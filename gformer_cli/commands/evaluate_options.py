"""The options of `gformer evaluate` that no other command has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from gformer_cli.compute.launched import seat
from gformer_cli.errors import InputError
from gformer_cli.seeding import LARGEST_SEED

WHOLE = (1, 1)


Targets = Annotated[
    list[Path] | None,
    typer.Option(
        "--target",
        metavar="DIR",
        help="Labelled images of unseen conditions: a domain, a root of domains, a table (.csv, .parquet), a list "
        "(.txt) or shards ('NAME-{000..127}.tar'). Repeatable.",
        show_default=False,
    ),
]
Sources = Annotated[
    list[Path] | None,
    typer.Option(
        "--source",
        metavar="DIR",
        help="The source images, for --shifts, --tune, the stream 'forgetting' and methods that look at them, such as "
        "eata. Repeatable.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Folder for results.json and results.csv; must be new or empty. Default: RUN/results, or none where "
        "--model is given.",
        show_default=False,
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        metavar="NAMES",
        help="Methods to measure: a,b,c or all. Repeatable. Default: source,bn,tent,constant,gformer.",
        show_default=False,
    ),
]
Streams = Annotated[
    list[str] | None,
    typer.Option(
        "--streams",
        metavar="NAMES",
        help="Streams to measure on: a,b,c or all. Repeatable. Default: stationary. Two may be joined: "
        "mixed+label-shift. Benchmarks' names work too: mixed_domains is mixed, correlated is label-shift.",
        show_default=False,
    ),
]
Shifts = Annotated[
    bool,
    typer.Option("--shifts", help="Measure on held-out source images under simulated shifts; needs no target."),
]
Corruptions = Annotated[
    list[str] | None,
    typer.Option(
        "--corruptions",
        metavar="NAMES",
        help="Of --shifts: names such as fog,rain, groups such as blur, all (gformer's own 22) or imagenet-c. "
        "Repeatable. Default: all.",
        show_default=False,
    ),
]
Tune = Annotated[
    bool,
    typer.Option("--tune", help="Choose the methods' settings first, on held-out source images."),
]
LabelSkew = Annotated[
    float,
    typer.Option(help="Of the stream 'label-shift': Dirichlet concentration; 0 is one class at a time."),
]
Severity = Annotated[
    int | None,
    typer.Option(
        "--severity",
        min=1,
        max=5,
        help="Of --shifts and of targets that know severities (CIFAR-10-C, ImageNet-C): this one alone. Default: all.",
        show_default=False,
    ),
]
Arrival = Annotated[
    Path | None,
    typer.Option(
        "--arrival",
        metavar="FILE",
        help="Of the stream 'arrival': a table of path and time. Default: the times of the files.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        help="Most images of each target; under --shifts, of each source domain. Default: all, and 400 under --shifts.",
        show_default=False,
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seed",
        min=0,
        max=LARGEST_SEED,
        help="Seed of the images' order. Repeatable. Default: 0.",
        show_default=False,
    ),
]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-under",
        metavar="METHOD=VALUE",
        help="Exit with 1 when the method's average accuracy (0 to 1) is lower on any stream. Repeatable.",
        show_default=False,
    ),
]
FailHarm = Annotated[
    float | None,
    typer.Option(
        "--fail-harm",
        metavar="VALUE",
        help="Exit with 1 when gformer loses more accuracy than this to source on any target.",
        show_default=False,
    ),
]
Baseline = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="An earlier results.json: show what changed, exit with 1 when something got worse.",
        show_default=False,
    ),
]
Examine = Annotated[
    bool,
    typer.Option(
        "--examine",
        help="Keep in the results what gformer report shows of layers and changed images; --report does so too.",
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        min=1,
        help="Streams at once, each in a process with its share of the threads: faster for small networks.",
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Measure the I-th of N parts, on any machine: gformer merge puts the results of all together.",
        show_default=False,
    ),
]
SHARDED = ("--fail-under", "--fail-harm", "--baseline", "--report")
"""What looks at all results, so that a part of them says nothing."""


def read_shard(text: str | None, out: Path | None, jobs: int, given: Sequence[object]) -> tuple[int, int]:
    """I and N. Raises `InputError` for what is none, and for options that a part of an evaluation cannot have; `given`
    are the values of `SHARDED`."""
    processes = seat().size
    if processes > 1 and jobs > 1:
        raise InputError(
            f"--jobs is for one process, and torchrun has started {processes}", "They share the streams: leave it out."
        )
    if text is None:
        return WHOLE
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise InputError(f"--shard {text} is not I/N with I from 1 to N", "For example: --shard 2/8")
    if out is None:
        raise InputError(
            "--shard needs a folder for what is to be merged", "Add --out DIR, another one for each shard."
        )
    for option, value in zip(SHARDED, given, strict=True):
        if value:
            raise InputError(
                f"{option} looks at the whole evaluation, and --shard measures a part",
                "Leave it out: see gformer merge.",
            )
    return int(number), int(count)


def check_choice(
    target: Sequence[Path] | None,
    source: Sequence[Path] | None,
    streams: Sequence[str] | None,
    *,
    shifts: bool,
    tune: bool,
    corruptions: Sequence[str] | None = None,
) -> None:
    """Raises `InputError` for options that exclude each other or lack another."""
    if not target and not shifts:
        raise InputError("no --target given", "Name labelled target folders, or use --shifts with --source.")
    if target and shifts:
        raise InputError("--shifts measures on source images, so it takes no --target", "Run the two one by one.")
    if shifts and streams:
        raise InputError("--shifts is a stream of its own, so it takes no --streams", "Leave out one of them.")
    if corruptions and not shifts:
        raise InputError("--corruptions are those of --shifts, which is not there", "Add --shifts, or leave them out.")
    if (tune or shifts) and not source:
        raise InputError(f"--{'tune' if tune else 'shifts'} needs the source images", "Add --source DIR.")
