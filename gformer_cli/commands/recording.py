"""The option --log of the trainings, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gformer_cli.records.sinks import Log

if TYPE_CHECKING:
    from gformer_cli.progress import Progress
    from gformer_cli.records.sinks import Picture
    from gformer_cli.settings import Settings

Logs = Annotated[
    list[Log] | None,
    typer.Option(
        "--log",
        help="Record curves, settings and a few images there as well; a table beside the run's journal, such as "
        "RUN/pretrain.csv, is always written. Repeatable. Needs pip install 'gformer\\[tensorboard]' or "
        "'gformer\\[mlflow]'.",
        show_default=False,
    ),
]
Show = Callable[[Sequence["Picture"]], None]


@contextmanager
def recorded(
    progress: Progress,
    stage: str,
    run: Path,
    settings: Settings,
    journal: Callable[[], Path],
    log: Sequence[Log],
    *,
    resumed: bool,
) -> Iterator[tuple[Progress, Show]]:
    """Within the block a training that reports to the progress given is recorded, by the first of several processes.

    What comes with it shows images of the end of training.
    """
    from gformer_cli.compute import ranks
    from gformer_cli.records.flat import flat
    from gformer_cli.records.recording import recording
    from gformer_cli.records.sinks import Stage, openers

    if not ranks.first():
        yield progress, lambda _: None
        return
    described = Stage(stage, run, flat(settings), resumed)
    with recording(progress, described, journal, openers(log)) as (followed, recorder):
        yield followed, recorder.show
