"""Meta-learn one generator on several runs, and write it to a file of its own."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gformer_cli.bundle import tensors_hash
from gformer_cli.bundle.card import Card, Figures, LearntRun, learnt_run
from gformer_cli.bundle.generator_file import fits_its_own_alone, save_generator
from gformer_cli.compute import ranks
from gformer_cli.compute.device import make_deterministic
from gformer_cli.compute.threads import Cores
from gformer_cli.data.damage import Damage
from gformer_cli.data.inventory import Inventory
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError
from gformer_cli.files import check_appendable, check_fillable, check_writable, remove_tree
from gformer_cli.folders.domains import Domain
from gformer_cli.images.preprocessing import Skipped
from gformer_cli.images.store import PixelStore
from gformer_cli.networks.own_code import check_own_code
from gformer_cli.progress import Progress, Silent
from gformer_cli.settings import Settings
from gformer_cli.train.checkpoint import Checkpoint
from gformer_cli.train.episode_sources import EpisodeSource, episodes_of_step
from gformer_cli.train.meta_crew import train_generators
from gformer_cli.train.meta_train import OTHER_IMAGES, check_images, recorded_images
from gformer_cli.train.meta_trainer import GENERATOR, MetaTrainer
from gformer_cli.train.pretrain import hash_source, note_damage, read_source
from gformer_cli.train.run_folder import RunFolder, SourceData
from gformer_cli.train.source_images import SourceImages
from gformer_cli.train.source_models import SourceModels
from gformer_cli.train.start import check_start, lineage_of
from gformer_cli.train.trial import try_generating

Runs = Sequence[tuple[RunFolder, Sequence[Domain]]]
"""Runs, each with the source domains that it was pretrained on."""


@dataclass(frozen=True)
class GeneratorPlace:
    """What lies beside a generator file while it is trained, and its log for good."""

    root: Path
    """The file itself."""

    @property
    def meta_train_log(self) -> Path:
        return self.root.with_name(f"{self.root.name}.jsonl")

    @property
    def checkpoints(self) -> Path:
        return self.root.with_name(f"{self.root.name}.checkpoints")

    def checkpoint(self, label: str) -> Checkpoint:
        return Checkpoint(self.checkpoints / f"{label}.pt")


@dataclass(frozen=True)
class ManyResult:
    """What `meta_train_many` found."""

    validation: dict[str, float]
    """Means over the runs of the accuracies on their validation episodes: `gformer`, `source`, `bn`."""
    of_runs: dict[str, dict[str, float]]
    """The same for each run, by its name."""
    generator_parameters: int
    skipped: list[Skipped]


def meta_train_many(
    runs: Runs,
    settings: Settings,
    out: Path,
    *,
    device: torch.device,
    workers: int,
    store: PixelStore | None = None,
    cores: Cores | None = None,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ManyResult:
    """Train one generator on episodes of all `runs`, with the models of each; writes the generator file `out`.

    The generator, meta_train and shifts sections of `settings` and its seed hold for all; what models and images depend
    on is each run's own. No constant generator is trained beside, and no guard is calibrated: both are one network's.
    Raises `InputError` as `check_runs` does, and `Interrupted` after Ctrl-C, with everything kept for `resume`.
    """
    progress, place = progress or Silent(), GeneratorPlace(out)
    check_place(place, resume=resume, overwrite=overwrite)
    check_runs(runs, settings)
    alone = settings.meta_train.model_copy(update={"constant": False, "guard_batches": 0})
    settings = settings.model_copy(update={"meta_train": alone})
    make_deterministic(settings.seed)
    reader = _Reader(settings, device, workers, store, strict, progress, place.checkpoints / "damaged.jsonl")
    names = names_of([run for run, _ in runs])
    sources = [reader.read(name, run, domains) for name, (run, domains) in zip(names, runs, strict=True)]
    if not resume and ranks.first():
        place.meta_train_log.unlink(missing_ok=True)
        _drop(place)
    start = lineage_of(settings).parent  # before `out` may take its place
    trained = train_generators(
        {GENERATOR: settings.generator},
        sources,
        [run.place for run, _ in runs],
        settings,
        place,
        place.checkpoints / "pixels.bin",
        device,
        workers,
        cores,
        progress,
    )
    trainer = trained.trainers[GENERATOR]
    result = ManyResult(
        validation=trained.figures[GENERATOR],
        of_runs=trainer.figures_of_runs(),
        generator_parameters=sum(p.numel() for p in trainer.model.generator.parameters()),
        skipped=reader.skipped + reader.damage.all(),
    )
    learnt = _learnt(sources, [run for run, _ in runs])
    if ranks.first():
        save_generator(out, trainer.model.generator, settings.generator, _card(learnt, trainer, result, start))
        _drop(place)
    return result


def check_place(place: GeneratorPlace, *, resume: bool, overwrite: bool) -> None:
    """Raises `InputError` where training into `place` would overwrite something unasked; touches nothing.

    Of several processes the first one looks.
    """
    if not ranks.first():
        return
    begun = place.checkpoint(GENERATOR).exists
    if (place.root.exists() or begun) and not (resume or overwrite):
        state = "is there already" if place.root.exists() else "has been trained in part"
        raise InputError(
            f"{place.root} {state}", "Continue it with --resume, replace it with --overwrite, or name another --out."
        )
    if resume and place.root.exists() and not begun:
        raise InputError(f"nothing to resume: {place.root} is finished", "Train a new one with --overwrite.")
    check_writable(place.root)
    check_appendable(place.meta_train_log)
    check_fillable(place.checkpoints)


def check_runs(runs: Runs, settings: Settings) -> None:
    """Raises `InputError` where no one generator can be trained on `runs`; reads no image.

    That is: a run that comes twice, is not pretrained, is imported, or was pretrained on other images; and settings of
    a generator that fits one network alone.
    """
    why = fits_its_own_alone(settings.generator)
    if why is not None:
        raise InputError(
            f"a generator that {why} fits one network alone, and this one is to learn from several runs",
            "Set generator.kind=channel and generator.on_constant=false.",
        )
    seen: set[Path] = set()
    for run, domains in runs:
        if run.root.resolve() in seen:
            raise InputError(
                f"run {run.root} is named twice", "Name each --run once, with all of its --source folders."
            )
        seen.add(run.root.resolve())
        if run.imported() is not None:
            raise InputError(
                f"the source model of {run.root} is imported, and several runs can be learnt from only where gformer "
                "has trained their models",
                "Meta-train it by itself, or leave it out.",
            )
        own = run.settings()
        run.source()
        check_own_code(own.backbone.name, None, f"run {run.root}")
        check_images(domains, run, _for_run(own, settings))


def names_of(runs: Sequence[RunFolder]) -> list[str]:
    """A name for each of `runs`: that of its folder, with a number where it comes again."""
    names: list[str] = []
    for run in runs:
        own = run.root.resolve().name
        count = sum(name == own or name.startswith(f"{own} (") for name in names)
        names.append(f"{own} ({count + 1})" if count else own)
    return names


def _for_run(own: Settings, settings: Settings) -> Settings:
    """The settings of a run's episodes: its own, but for what is trained and how."""
    changes = {name: getattr(settings, name) for name in ("generator", "meta_train", "shifts", "seed")}
    return own.model_copy(update=changes)


@dataclass
class _Reader:
    """Reads what runs were trained on, and their models; images that runs share are read and kept once."""

    settings: Settings
    device: torch.device
    workers: int
    store: PixelStore | None
    strict: bool
    progress: Progress
    notes: Path
    """Where processes note the images that turn out to be damaged."""

    def __post_init__(self) -> None:
        self.skipped: list[Skipped] = []
        self.damage = Damage(self.notes)
        self._images: dict[object, list[LabelledDomain]] = {}

    def read(self, name: str, run: RunFolder, domains: Sequence[Domain]) -> EpisodeSource:
        """Raises `InputError` where the images are not those that `run` was trained on."""
        own, source = run.settings(), run.source()
        models = SourceModels(run, source, own, self.device)
        try_generating(models.full, _for_run(own, self.settings), len(source.classes), self.device)
        check_start(self.settings, models.full)
        loaded = self._loaded(domains, own, source, Inventory(run.inventory_path))
        images = SourceImages.of(loaded)
        recorded_images(run).require(images, OTHER_IMAGES)
        digest = hashlib.sha256(f"{images.fingerprint} {tensors_hash(models.full.network.state_dict())}".encode())
        settings = _for_run(own, self.settings)
        return EpisodeSource(name, models, loaded, settings, source.leave_one_domain_out, digest.hexdigest())

    def _loaded(
        self, domains: Sequence[Domain], own: Settings, source: SourceData, inventory: Inventory
    ) -> list[LabelledDomain]:
        files = tuple((domain.name, file.path) for domain in domains for file in domain.files)
        key = files, tuple(source.classes), own.data, own.seed
        if key not in self._images:
            loaded, skipped = read_source(
                *(domains, source.classes, own),
                workers=self.workers,
                strict=self.strict,
                inventory=inventory,
                store=self.store,
                progress=self.progress,
            )
            hash_source(loaded, workers=self.workers, progress=self.progress)
            self.damage = note_damage(loaded, self.notes)
            self._images[key] = loaded
            self.skipped += skipped
        return self._images[key]


def _learnt(sources: Sequence[EpisodeSource], runs: Sequence[RunFolder]) -> list[LearntRun]:
    """The runs on the card; those on the same images are one task, called as the first of them."""
    tasks: dict[str, str] = {}
    learnt = []
    for source, run in zip(sources, runs, strict=True):
        known, own = run.source(), run.settings()
        learnt.append(
            learnt_run(
                tasks.setdefault(known.fingerprint, source.name),
                own.backbone,
                source.models.full,
                classes=known.classes,
                domains=known.domains,
                fingerprint=known.fingerprint,
                seed=own.seed,
            )
        )
    return learnt


def _card(learnt: Sequence[LearntRun], trainer: MetaTrainer, result: ManyResult, start: str | None) -> Card:
    settings = trainer.settings
    named = " ".join(f"--run {shlex.quote(run)}" for run in result.of_runs)
    values: dict[str, float] = {f"validation {name}": value for name, value in result.validation.items()}
    for run, figures in result.of_runs.items():
        values |= {f"validation {name}, {run}": value for name, value in figures.items()}
    return Card(
        runs=tuple(learnt),
        steps=trainer.steps,
        episodes=trainer.steps * episodes_of_step(settings, len(learnt)),
        start=start,
        figures=(Figures(command=f"gformer meta-train {named} --seed {settings.seed}", values=values),),
    )


def _drop(place: GeneratorPlace) -> None:
    if place.checkpoints.is_dir():
        remove_tree(place.checkpoints)
