"""Records follow a training as it goes on: they are made from its journal whenever that has grown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gformer_cli.files import remove_tree
from gformer_cli.progress import Progress
from gformer_cli.records.points import read_points, write_table
from gformer_cli.records.sinks import Opener, Picture, Sink, Stage


class Recorder:
    """Keeps the CSV of a stage beside its journal, and tells the sinks."""

    def __init__(self, stage: Stage, journal: Callable[[], Path], openers: Sequence[Opener] = ()) -> None:
        """`journal` says where it is now: a run that is to replace another moves at its end."""
        self._stage = stage
        self._journal = journal
        self._openers = openers
        self._sinks: list[Sink] | None = None
        # what lies there when a training begins is of another
        self._seen = None if stage.resumed else _state(journal())

    @property
    def begun(self) -> bool:
        """Whether anything was recorded."""
        return self._sinks is not None

    def look(self) -> None:
        """Record what is new."""
        journal = self._journal()
        state = _state(journal)
        if state is None or state == self._seen:
            return
        self._seen = state
        if self._sinks is None:
            if not self._stage.resumed:
                _forget(self._stage.name, journal.parent)
            self._sinks = [opened(self._stage, journal.parent) for opened in self._openers]
        points = read_points(journal)
        write_table(points, journal.with_suffix(".csv"))
        for sink in self._sinks:
            sink.tell(points)

    def show(self, pictures: Sequence[Picture]) -> None:
        """Images of the end of training."""
        for sink in self._sinks or ():
            sink.show(pictures)

    def close(self, *, finished: bool) -> None:
        for sink in self._sinks or ():
            sink.close(finished=finished)


def _state(journal: Path) -> tuple[int, int, int] | None:
    """What changes whenever the journal does; None where there is none."""
    try:
        found = journal.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _forget(stage: str, folder: Path) -> None:
    """What an earlier training of the stage, which is replaced, has left for others."""
    if (folder / "tensorboard" / stage).is_dir():
        remove_tree(folder / "tensorboard" / stage)
    (folder / f"{stage}.mlflow.json").unlink(missing_ok=True)


class Recorded:
    """A progress whose steps are followed by a recorder. Its other lines go to `progress` as they are."""

    def __init__(self, progress: Progress, recorder: Recorder) -> None:
        self._progress = progress
        self._recorder = recorder
        self.begin, self.end = progress.begin, progress.end
        self.message, self.detail, self.warning = progress.message, progress.detail, progress.warning

    def advance(self, note: str = "") -> None:
        self._progress.advance(note)
        self._recorder.look()


@contextmanager
def recording(
    progress: Progress, stage: Stage, journal: Callable[[], Path], openers: Sequence[Opener]
) -> Iterator[tuple[Progress, Recorder]]:
    """Within the block a training that reports to the progress given is recorded; also where it ends by an error."""
    recorder = Recorder(stage, journal, openers)
    try:
        yield Recorded(progress, recorder), recorder
        recorder.look()
    except BaseException:
        if recorder.begun:
            recorder.look()
        recorder.close(finished=False)
        raise
    recorder.close(finished=True)
