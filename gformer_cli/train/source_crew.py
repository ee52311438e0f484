"""Train the source models of a run: one after the other here, or shared by processes, from checkpoint to checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from gformer_cli.compute import ranks
from gformer_cli.compute.crew import Alone, Asked, Crew, Line, Processes
from gformer_cli.compute.device import crew_size, make_deterministic, pick_pace
from gformer_cli.compute.pace import Pace
from gformer_cli.compute.threads import Cores
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.shared import SharedImages
from gformer_cli.errors import Interrupted
from gformer_cli.progress import Progress, Silent, StopRequest
from gformer_cli.settings import Settings
from gformer_cli.train import team
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_trainer import SourceTrainer

_POLL = 0.1
"""Seconds between two looks at what the processes have said."""


@dataclass(frozen=True)
class Leg:
    """A part of a training, up to a checkpoint or the end."""

    step: int
    """The steps that are behind the model."""
    accuracy: float | None
    """Of the written model, where this was the last part."""


@dataclass(frozen=True)
class SourceWork:
    """What a process trains source models with."""

    settings: Settings
    run: RunFolder
    num_classes: int
    device: torch.device
    parts: Mapping[str, Sequence[LabelledDomain]]
    """Per model, by its label, the domains that it is trained on."""
    progress: Progress
    stop: StopRequest
    pace: Pace
    by_legs: bool
    """Stop at each checkpoint, so that another process may go on with the model."""
    workers: int = 0
    """Processes that read images ahead."""
    together: bool = False
    """Whether all processes of torchrun train each model."""

    def leg(self, label: str) -> Leg:
        """Train the model `label` on from where it stands; a finished one is only measured."""
        own = self.settings, self.run, self.num_classes, self.device
        trainer = SourceTrainer(
            *(label, self.parts[label], *own), pace=self.pace, workers=self.workers, together=self.together
        )
        step, written = self.settings.pretrain.steps, self.run.model_path(label)
        is_written = ranks.from_first(written.is_file) if self.together else written.is_file()
        with closing(trainer):
            if not is_written:
                step = trainer.train(self.progress, self.stop, to_checkpoint=self.by_legs)
            return Leg(step, trainer.final_accuracy() if written.is_file() else None)


class _Told(Silent):
    """The progress of a process of a crew: each step is told to the process that gave it work."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def advance(self, note: str = "") -> None:
        self._line.say(note)


def build_source_work(
    line: Line,
    settings: Settings,
    root: Path,
    num_classes: int,
    shared: SharedImages,
    parts: Mapping[str, Sequence[str]],
    threads: int,
    fixed: bool,
) -> SourceWork:
    """The worker of a process on the CPU; `parts` names the domains of each model."""
    make_deterministic(settings.seed)
    domains = {domain.name: domain for domain in shared.open()}
    return SourceWork(
        settings,
        RunFolder(root),
        num_classes,
        torch.device("cpu"),
        {label: [domains[name] for name in names] for label, names in parts.items()},
        _Told(line),
        Asked(line),
        Pace(threads, fixed=fixed),
        by_legs=True,
    )


def train_source_models(
    parts: Mapping[str, Sequence[str]],
    loaded: Sequence[LabelledDomain],
    settings: Settings,
    run: RunFolder,
    num_classes: int,
    device: torch.device,
    workers: int,
    cores: Cores | None,
    progress: Progress,
) -> dict[str, float]:
    """Train the models of `parts`, which names the domains of each; returns their accuracies.

    Where this process trains them all, images are read ahead by `workers`; several processes read their own.
    """
    crew: Crew[SourceWork]
    together = team.is_needed(len(parts))
    with ranks.stoppable_together() if together else ranks.stoppable_apart() as stop:
        size = crew_size(cores, len(parts), device)
        if size == 1:
            domains = {domain.name: domain for domain in loaded}
            mine = {label: [domains[name] for name in names] for label, names in parts.items()}
            pace = pick_pace(cores, device, progress)
            here = settings, run, num_classes, device, mine, progress, stop, pace
            crew = Alone(SourceWork(*here, by_legs=False, workers=workers, together=together))
            # each model is trained, and its files are written, by one process, unless there are more of them
            own = list(parts) if together else ranks.mine(list(parts))
            found = ranks.gathered(_share_out(crew, own, settings.pretrain.steps, stop, Silent()))
            accuracies = {label: accuracy for one in found for label, accuracy in one.items()}
            return {label: accuracies[label] for label in parts}
        assert cores is not None
        threads, steps = cores.count // size, settings.pretrain.steps
        progress.detail(f"{size} processes of {threads} threads each train the models")
        done = sum(_steps_done(run, label, steps) for label in parts)
        progress.begin(f"training {len(parts)} models, {size} at a time", steps * len(parts), done)
        with SharedImages.of(loaded, run.pixels_path) as shared:
            given = settings, run.place, num_classes, shared, parts, threads, cores.fixed
            with Processes(size, threads, build_source_work, *given) as crew:
                accuracies = _share_out(crew, parts, steps, stop, progress)
        progress.end()
        return accuracies


def _steps_done(run: RunFolder, label: str, steps: int) -> int:
    """Of the model `label`: all, some or none."""
    if run.model_path(label).is_file():
        return steps
    saved = run.checkpoint(label).load()
    return 0 if saved is None else int(saved["step"])


def _share_out(
    crew: Crew[SourceWork], parts: Iterable[str], steps: int, stop: StopRequest, progress: Progress
) -> dict[str, float]:
    """Let the crew train each model, always the one that is furthest back, until all are done."""
    left = dict.fromkeys(parts, steps)
    running: dict[Future[Leg], str] = {}
    accuracies: dict[str, float] = {}
    interrupted: Interrupted | None = None
    while left or running:
        waiting = [label for label in left if label not in running.values()]
        while waiting and len(running) < crew.size and not stop.requested:
            label = max(waiting, key=left.__getitem__)
            waiting.remove(label)
            running[crew.submit(SourceWork.leg, label)] = label
        if stop.requested:
            crew.stop()
        finished, _ = wait(running, timeout=_POLL, return_when=FIRST_COMPLETED)
        for note in crew.notes():
            progress.advance(note)
        for future in finished:
            label = running.pop(future)
            try:
                leg = future.result()
            except Interrupted as error:
                interrupted = interrupted or error
                continue
            left[label] = steps - leg.step
            if leg.accuracy is not None:
                accuracies[label] = leg.accuracy
                del left[label]
        if stop.requested and not running:
            break
    if interrupted is not None or left:
        raise interrupted or Interrupted("stopped between two models", "Go on with the same command and --resume.")
    return {label: accuracies[label] for label in parts}
