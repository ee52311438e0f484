"""Meta-training of one or more generators, in this process or shared by a crew of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from gformer_cli.bundle import GuardHeader, TemperaturesHeader, build_generator, build_model
from gformer_cli.compute import ranks
from gformer_cli.compute.crew import Line, Processes
from gformer_cli.compute.device import crew_size, make_deterministic, pick_pace
from gformer_cli.compute.pace import Pace
from gformer_cli.compute.threads import Cores
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.shared import SharedImages
from gformer_cli.errors import Interrupted
from gformer_cli.progress import Progress, StopRequest, Together
from gformer_cli.seeding import derive_seed
from gformer_cli.settings import GeneratorSettings, Settings
from gformer_cli.train.calibrate_guard import calibration_of
from gformer_cli.train.episode_sources import EpisodeSource, averaged, episodes_of, episodes_of_step
from gformer_cli.train.episodes import EpisodeWork
from gformer_cli.train.meta_trainer import GENERATOR, MetaTrainer, Place
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.source_models import SourceModels
from gformer_cli.train.start import NO_START, read_start
from gformer_cli.train.temperatures import fit_temperatures


@dataclass(frozen=True)
class Trained:
    """What meta-training has made."""

    trainers: dict[str, MetaTrainer]
    """By label; the best generator of each in place."""
    figures: dict[str, dict[str, float]]
    """By label: accuracies on the validation episodes."""
    guard: GuardHeader | None
    temperatures: TemperaturesHeader | None = None


def train_generators(
    wanted: Mapping[str, GeneratorSettings],
    sources: Sequence[EpisodeSource],
    roots: Sequence[Path],
    settings: Settings,
    place: Place,
    pixels: Path,
    device: torch.device,
    workers: int,
    cores: Cores | None,
    progress: Progress,
) -> Trained:
    """Train a generator for each of `wanted`, by its label, on the runs `sources`, which lie in the folders `roots`.

    On a CPU processes share the episodes; they find decoded images in files beside `pixels`. Where torchrun has started
    this process and others, those share them instead. Where there is one run, temperatures are fitted, and a guard is
    calibrated if the settings want one: both are a network's own. Where this process has no crew, `workers` read
    images ahead.
    """
    episodes = episodes_of_step(settings, len(sources))
    ranks.tell_idle(episodes, f"episodes of a step: {episodes} (meta_train.episodes_per_step)", progress)
    size = crew_size(cores, len(wanted) * episodes, device)
    pace = pick_pace(cores, device, progress) if size == 1 else Pace(1)
    trainers = _make_trainers(wanted, sources, settings, place, device, pace, workers if size == 1 else 0)
    with ExitStack() as stack, ranks.stoppable_together() as stop:
        if size == 1:
            figures = {label: trainer.train(progress, stop) for label, trainer in trainers.items()}
        else:
            assert cores is not None
            threads = cores.count // size
            progress.detail(f"{size} processes of {threads} threads each share the episodes")
            runs = _share(stack, sources, roots, pixels)
            own = wanted, runs, settings, threads, cores.fixed
            crew = stack.enter_context(Processes(size, threads, build_episodes, *own))
            for trainer in trainers.values():
                trainer.crew = crew
            figures = _train_together(trainers, progress, stop)
        trainer = trainers[GENERATOR]
        return Trained(trainers, figures, _guard(trainer, progress), _temperatures(trainer, progress))


def _make_trainers(
    wanted: Mapping[str, GeneratorSettings],
    sources: Sequence[EpisodeSource],
    settings: Settings,
    place: Place,
    device: torch.device,
    pace: Pace,
    workers: int,
) -> dict[str, MetaTrainer]:
    """A trainer of a generator for each of `wanted`, by its label; untrained but for a start that the settings name."""
    made: dict[str, MetaTrainer] = {}
    for label, described in wanted.items():
        model = _new_model(described, settings.seed, sources, device)
        started = label == GENERATOR and settings.meta_train.start != NO_START
        if started:
            start = read_start(settings.meta_train.start, described, sources[0].models.full)
            model.generator.load_state_dict(start.state_dict())
        own = model, sources, settings, place, device
        made[label] = MetaTrainer(*own, label=label, pace=pace, started=started, workers=workers)
    return made


def _new_model(
    described: GeneratorSettings, seed: int, sources: Sequence[EpisodeSource], device: torch.device
) -> GeneralizeFormer:
    """The model around an untrained generator, which fits the first of the runs, and where it can fit others, all."""
    torch.manual_seed(derive_seed(seed, "generator"))
    return build_model(described, build_generator(described, sources[0].models.full).to(device))


@dataclass(frozen=True)
class _SharedRun:
    """A run as a process of a crew finds it."""

    root: Path
    name: str
    settings: Settings
    images: SharedImages


def _share(stack: ExitStack, sources: Sequence[EpisodeSource], roots: Sequence[Path], pixels: Path) -> list[_SharedRun]:
    """The runs, their pixels written to files until `stack` is left; runs on the same images share a file."""
    written: dict[int, SharedImages] = {}
    for source in sources:
        if id(source.domains) not in written:
            path = pixels.with_stem(f"{pixels.stem}-{len(written)}") if written else pixels
            written[id(source.domains)] = stack.enter_context(SharedImages.of(source.domains, path))
    return [
        _SharedRun(root, source.name, source.settings, written[id(source.domains)])
        for root, source in zip(roots, sources, strict=True)
    ]


def build_episodes(
    _line: Line,
    wanted: Mapping[str, GeneratorSettings],
    runs: Sequence[_SharedRun],
    settings: Settings,
    threads: int,
    fixed: bool,
) -> dict[str, list[EpisodeWork]]:
    """The episodes that a process of a crew, on the CPU, works with."""
    make_deterministic(settings.seed)
    device, pace = torch.device("cpu"), Pace(threads, fixed=fixed)
    opened: dict[Path, list[LabelledDomain]] = {}
    sources = []
    for run in runs:
        if run.images.path not in opened:
            opened[run.images.path] = run.images.open()
        source = RunFolder(run.root).source()
        models = SourceModels(RunFolder(run.root), source, run.settings, device)
        domains = opened[run.images.path]
        sources.append(EpisodeSource(run.name, models, domains, run.settings, source.leave_one_domain_out))
    found: dict[str, list[EpisodeWork]] = {}
    for label, described in wanted.items():
        model = _new_model(described, settings.seed, sources, device)
        _, kept = averaged(model, settings.meta_train.ema)
        found[label] = episodes_of(model, kept, sources, settings, device, label=label, pace=pace)
    return found


def _train_together(
    trainers: Mapping[str, MetaTrainer], progress: Progress, stop: StopRequest
) -> dict[str, dict[str, float]]:
    """Train all at once, in a thread each, which waits for the crew most of the time."""
    steps = sum(trainer.options.steps for trainer in trainers.values())
    together = Together(progress, f"meta-training {' and '.join(trainer.name for trainer in trainers.values())}", steps)
    with ThreadPoolExecutor(len(trainers)) as threads:
        futures = {label: threads.submit(trainer.train, together, stop) for label, trainer in trainers.items()}
        wait(futures.values(), return_when=FIRST_EXCEPTION)
        stop.requested = stop.requested or any(future.done() and future.exception() for future in futures.values())
    together.finish()
    errors = [error for future in futures.values() if (error := future.exception()) is not None]
    if errors:  # what ended the first ended the others as well
        raise next((error for error in errors if not isinstance(error, Interrupted)), errors[0])
    return {label: future.result() for label, future in futures.items()}


def _guard(trainer: MetaTrainer, progress: Progress) -> GuardHeader | None:
    """The guard of a trained generator, where one is wanted."""
    if not trainer.options.guard_batches or len(trainer.works) > 1:
        return None
    shared = trainer.crew if trainer.crew.size > 1 else None
    return calibration_of(trainer.works[0]).run(progress, shared)


def _temperatures(trainer: MetaTrainer, progress: Progress) -> TemperaturesHeader | None:
    """Those of a trained generator and its source models."""
    if len(trainer.works) > 1:
        return None
    return fit_temperatures(trainer.works[0], progress, trainer.crew if trainer.crew.size > 1 else None)
