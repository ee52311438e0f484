"""Train the source model, and for each source domain a model that has not seen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gformer_cli.compute import ranks
from gformer_cli.compute.device import make_deterministic
from gformer_cli.compute.threads import Cores
from gformer_cli.data.damage import Damage
from gformer_cli.data.inventory import Inventory
from gformer_cli.data.labelled import LabelledDomain, fits_into_memory, hash_all, load_labelled
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, check_names, class_names
from gformer_cli.images.preprocessing import Skipped
from gformer_cli.images.store import PixelStore
from gformer_cli.progress import Progress, Silent
from gformer_cli.settings import Settings
from gformer_cli.train.rising import logged, still_rising
from gformer_cli.train.run_folder import ALL, OTHER_IMAGES, RunFolder, SourceData
from gformer_cli.train.source_crew import train_source_models
from gformer_cli.train.source_images import SourceImages
from gformer_cli.train.source_models import preprocessing_of, starting_network
from gformer_cli.train.team import check_batch
from gformer_cli.train.trial import try_training_of
from gformer_cli.weights.published import names_published


@dataclass(frozen=True)
class PretrainResult:
    """What `pretrain` made."""

    source: SourceData
    accuracies: dict[str, float]
    """Per trained model its accuracy on validation images of the domains it was trained on."""
    skipped: list[Skipped]


def check_source(domains: Sequence[Domain], *, leave_one_domain_out: bool) -> list[str]:
    """The class names of `domains`; raises `InputError` where they cannot be trained on.

    That is: a name that is not UTF-8, fewer than two classes, an empty class folder, one domain alone or a class of
    one domain alone while leave-one-domain-out models are wanted.
    """
    check_names(domains)
    classes = class_names(domains)
    if len(classes) < 2:
        raise InputError(
            f"only one class in the source folders: {classes[0]!r}",
            "At least two are needed. Is --layout right? One class per folder: DIR/class/image.",
        )
    for domain in domains:
        for name, count in domain.counts.items():
            if count == 0:
                raise InputError(
                    f"class folder without images: {domain.root / name}",
                    "Add images, or remove the folder if the domain has none of that class.",
                )
    if not leave_one_domain_out:
        return classes
    if len(domains) == 1:
        raise InputError(
            f"one source domain only ({domains[0].name}), and leave-one-domain-out models need two or more",
            "Add a --source, or use --no-leave-one-out: episodes then come from simulated shifts alone.",
        )
    for name in classes:
        holders = [domain.name for domain in domains if domain.counts.get(name)]
        if len(holders) == 1:
            raise InputError(
                f"class {name!r} is in domain {holders[0]!r} alone, so the model without that domain never sees it",
                "Add images of it to another domain, or use --no-leave-one-out.",
            )
    return classes


def check_resumed(domains: Sequence[Domain], run: RunFolder, *, resume: bool) -> None:
    """Raises `InputError` where `run` was started with other domains or classes; reads no image."""
    before = run.images() if resume else None
    if before is not None:
        before.require_folders(domains, OTHER_IMAGES)


def pretrain(
    domains: Sequence[Domain],
    settings: Settings,
    run: RunFolder,
    *,
    device: torch.device,
    workers: int,
    store: PixelStore | None = None,
    cores: Cores | None = None,
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PretrainResult:
    """Train on `domains` into `run`. Raises `Interrupted` after Ctrl-C, with everything kept for `resume`.

    On a CPU the models share `cores`, a process each. Without, one process trains all on the threads that torch has.
    Processes that torchrun has started share the models instead.
    """
    progress = progress or Silent()
    run.check_claim(settings, resume=resume, overwrite=overwrite)
    check_resumed(domains, run, resume=resume)
    classes = check_source(domains, leave_one_domain_out=settings.pretrain.leave_one_domain_out)
    models = 1 + len(domains) * settings.pretrain.leave_one_domain_out
    check_batch(settings.pretrain, models)
    make_deterministic(settings.seed)
    for remark in try_backbone(settings, len(classes), len(domains), device):  # before anything is written
        progress.message(remark)
    inventory = Inventory(run.inventory_path)
    loaded, skipped = read_source(
        *(domains, classes, settings),
        workers=workers,
        strict=strict,
        inventory=inventory,
        store=store,
        progress=progress,
    )
    parts = {ALL: [domain.name for domain in loaded]}
    if settings.pretrain.leave_one_domain_out:
        parts |= {f"without-{left}": [name for name in parts[ALL] if name != left] for left in parts[ALL]}
    _check_validation(parts, loaded)
    images = SourceImages.of(loaded)
    before = run.images() if resume else None
    if before is not None and not before.fingerprint:
        before.require(images, OTHER_IMAGES)
        before.require_files(inventory, loaded, OTHER_IMAGES)
    run.claim(settings, resume=resume, overwrite=overwrite, images=images)
    if ranks.first():
        run.write_inventory(loaded)
    damage = note_damage(loaded, run.damaged_path)
    accuracies = train_source_models(parts, loaded, settings, run, len(classes), device, workers, cores, progress)
    if not images.fingerprint:
        hash_source(loaded, workers=workers, progress=progress)
        images = SourceImages.of(loaded)
        if ranks.first():
            run.write_images(images)
            run.write_inventory(loaded)
    source = SourceData(
        classes=classes,
        domains={domain.name: domain.counts(classes) for domain in loaded},
        fingerprint=images.fingerprint,
        leave_one_domain_out=settings.pretrain.leave_one_domain_out,
        validation_accuracy=accuracies[ALL],
        still_rising=ranks.from_first(lambda: still_rising(logged(run.pretrain_log, ALL), settings.pretrain)),
    )
    skipped += damage.all()
    if ranks.first():
        run.write_source(source)
    run.finish()
    return PretrainResult(source, accuracies, skipped)


def _check_validation(parts: Mapping[str, Sequence[str]], loaded: Sequence[LabelledDomain]) -> None:
    """Raises `InputError` where a model has no image to be selected by: a class of a single image is trained on."""
    held = {domain.name: len(domain.validation) for domain in loaded}
    for label, names in parts.items():
        if not any(held[name] for name in names):
            raise InputError(
                f"nothing to validate model {label!r} on: every class of {', '.join(names)} has one readable image",
                "Add images: some of each class are held out, and the best model is chosen by them.",
            )


def read_source(
    domains: Sequence[Domain],
    classes: Sequence[str],
    settings: Settings,
    *,
    workers: int,
    strict: bool,
    progress: Progress,
    inventory: Inventory | None = None,
    store: PixelStore | None = None,
) -> tuple[list[LabelledDomain], list[Skipped]]:
    """Look at the source images and split them as the settings say: the same way for both training stages.

    What fits into memory is decoded; `inventory` tells of what is too much for it.
    """
    count = sum(len(domain.files) for domain in domains)
    kept = fits_into_memory(count, settings.data.image_size)
    progress.begin("reading images" if kept else "reading headers of images", count)
    loaded = load_labelled(
        domains,
        classes,
        preprocessing_of(settings),
        validation_fraction=settings.data.validation_fraction,
        seed=settings.seed,
        workers=workers,
        strict=strict,
        inventory=inventory,
        store=store,
        advance=progress.advance,
    )
    progress.end()
    for line in loaded[0][0].preprocessing.depth.news():
        progress.message(f"{line}; data.white_level sets another")
    return loaded


def hash_source(loaded: Sequence[LabelledDomain], *, workers: int, progress: Progress) -> None:
    """Read the files whose content nobody has hashed yet, and warn of those that have changed since the start."""
    missing = sum(len(domain.facts.unhashed()) for domain in loaded)
    if not missing:
        return
    progress.begin("hashing images", missing)
    changed = hash_all(loaded, workers=workers, advance=progress.advance)
    progress.end()
    if changed:
        progress.warning(
            f"{len(changed)} source images have changed since the start, such as {changed[0]}; "
            "what is recorded of them is what they are now"
        )


def note_damage(loaded: Sequence[LabelledDomain], notes: Path) -> Damage:
    """Where all processes that train on `loaded` note the images that turn out to be damaged."""
    damage = Damage(notes)
    for domain in loaded:
        domain.damage = damage
    return damage


def try_backbone(
    settings: Settings, num_classes: int, num_domains: int, device: torch.device, *, download: bool = True
) -> list[str]:
    """What to say of tensors that the weights leave fresh, and of normalisation layers that will not be adapted.

    Raises `InputError` where the settings' backbone, weights and generator do not work together: see `trial`.

    Without `download`, weights that the library would fetch are not looked at.
    """
    options, weights = settings.pretrain, settings.backbone.weights
    network, fresh = starting_network(settings, num_classes, with_weights=download or not names_published(weights))
    smallest = max(
        options.batch_size, num_domains - options.leave_one_domain_out, 1
    )  # a batch holds an image of each domain
    left = try_training_of(network, settings, num_classes, device, smallest)
    remarks = []
    if fresh:
        tensors = f"{len(fresh)} tensor{'s stay' if fresh[1:] else ' stays'} fresh"
        remarks.append(
            f"weights {weights}: {tensors}, such as {fresh[0]}: the file's have other shapes, or are missing"
        )
    if left:
        named = [f"{name} ({why})" for name, why in left.items()]
        few = f"{', '.join(named[:3])}{' ...' if named[3:] else ''}"
        remarks.append(f"not adapted, of the normalisation layers: {len(left)}: {few}")
    return remarks
