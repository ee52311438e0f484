"""Options that `gformer meta-train` alone has. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Steps = Annotated[int | None, typer.Option("--steps", help="Training steps of the generator.", show_default=False)]
Runs = Annotated[
    list[Path] | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="The run folder. Default: gformer-run. Repeatable: one generator learns from several runs, and each "
        "--source belongs to the --run before it.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Of several runs: the generator file to write, which gformer import puts on any network.",
        show_default=False,
    ),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--start",
        metavar="universal|FILE|none",
        help="The generator to go on from: universal, which comes with gformer; that of a generator file or a bundle; "
        "or none, an untrained one. Default: universal, and with --resume what was begun with; none where --set names "
        "settings of the generator.",
        show_default=False,
    ),
]
