"""Records for TensorBoard: `tensorboard --logdir RUN`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from gformer_cli.files import make_folder, remove_tree, writing_to
from gformer_cli.records.points import Point
from gformer_cli.records.sinks import Picture, Stage
from gformer_cli.train.run_files import labelled_file


class TensorBoard:
    """A folder of event files for each model of a stage, so that their curves lie over each other.

    It is begun anew whenever the stage goes on, from the journal: so no point is there twice, and none is missing.
    """

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._folder = folder / "tensorboard" / stage.name
        if self._folder.is_dir():
            remove_tree(self._folder)
        make_folder(self._folder)
        self._told: set[tuple[str, int]] = set()
        self._writers: dict[str, SummaryWriter] = {}
        rows = "".join(f"| {name} | {value} |\n" for name, value in stage.settings.items())
        with writing_to(self._folder):
            self._writer("settings").add_text("settings", f"| setting | value |\n| --- | --- |\n{rows}")
            self._flush()

    def tell(self, points: Sequence[Point]) -> None:
        with writing_to(self._folder):
            for point in points:
                if (point.model, point.step) in self._told:
                    continue
                self._told.add((point.model, point.step))
                for name, value in point.figures.items():
                    self._writer(point.model).add_scalar(name, value, point.step)
            self._flush()

    def show(self, pictures: Sequence[Picture]) -> None:
        with writing_to(self._folder):
            for number, picture in enumerate(pictures):
                writer = self._writer("images")
                writer.add_image(f"adapted/{number}", picture.pixels)
                writer.add_text(f"adapted/{number}", picture.caption)
            self._flush()

    def close(self, *, finished: bool) -> None:
        for writer in self._writers.values():
            writer.close()

    def _flush(self) -> None:
        for writer in self._writers.values():
            writer.flush()

    def _writer(self, name: str) -> SummaryWriter:
        if name not in self._writers:
            self._writers[name] = SummaryWriter(str(labelled_file(self._folder, name, "")))
        return self._writers[name]
