"""`gformer runs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.commands import options
from gformer_cli.console import Terminal, percent, table

if TYPE_CHECKING:
    from gformer_cli.records.runs import Run, Training

COLUMNS = ["run", "state", "source steps", "source %", "generator steps", "best %", "at step", "minutes"]


def runs(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, in the order of the table.", show_default=False)
    ],
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    debug: options.Debug = False,
) -> None:
    """Compare runs: how far they came, the best validation, the time, and the settings in which they differ.

    Minutes are those of all models' training steps, one model after the other, whatever ran at once. Best is the
    generator's accuracy on the validation episodes; compare it between runs on the same source images only.

    Example: gformer runs gformer-run other-run
    """
    terminal = Terminal(as_json=json, quiet=quiet, verbose=verbose)

    from gformer_cli.records.runs import differing, read_run

    found = [read_run(folder) for folder in folders]
    changed = differing(found)
    rows = [[name, *own] for name, own in changed.items()]
    settings = table("Settings that differ", ["setting", *(run.run for run in found)], rows)
    same = ["\nThe settings are the same."] if len(found) > 1 else []
    terminal.result(
        {"runs": [run.to_json() for run in found], "differing": list(changed)},
        table("", COLUMNS, [_row(run) for run in found], numbers_from=2),
        *(["", settings] if changed else same),
    )


def _row(run: Run) -> Sequence[str]:
    accuracy = "-" if run.source_accuracy is None else percent(run.source_accuracy)
    of_source, *_ = _figures(run.source)
    return [run.run, run.state, of_source, accuracy, *_figures(run.generator), f"{run.seconds / 60:.1f}"]


def _figures(training: Training | None) -> list[str]:
    if training is None:
        return ["-", "-", "-"]
    return [str(training.steps), percent(training.best), str(training.best_step)]
