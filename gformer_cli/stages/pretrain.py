"""Train the source model, and for each source domain a model that has not seen it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.config import Settings
from gformer_cli.core.networks import build_network
from gformer_cli.data.augment import augment, make_augmentation
from gformer_cli.data.depth import Depth
from gformer_cli.data.folders import Domain, check_names, class_names
from gformer_cli.data.images import Preprocessing, Skipped
from gformer_cli.data.labelled import LabelledDomain, load_labelled
from gformer_cli.data.samplers import EndlessShuffle, shares
from gformer_cli.errors import InputError, Interrupted
from gformer_cli.files import append_json_line
from gformer_cli.seeding import derive_seed
from gformer_cli.stages.divergence import Divergence
from gformer_cli.stages.progress import Progress, Silent, StopRequest, stoppable
from gformer_cli.stages.run_folder import ALL, OTHER_IMAGES, RunFolder, SourceData
from gformer_cli.stages.source_images import SourceImages
from gformer_cli.stages.training import autocast, learning_rate_at, make_deterministic, set_learning_rate
from gformer_cli.stages.trial import try_training_of
from gformer_cli.weights import load_weights


@dataclass(frozen=True)
class PretrainResult:
    """What `pretrain` made."""

    source: SourceData
    accuracies: dict[str, float]
    """Per trained model its accuracy on validation images of the domains it was trained on."""
    skipped: list[Skipped]


def preprocessing_of(settings: Settings) -> Preprocessing:
    """The part of the settings that says how a file becomes an input."""
    data = settings.data
    return Preprocessing(data.image_size, data.resize, data.mean, data.std, Depth(data.white_level))


def check_source(domains: Sequence[Domain], *, leave_one_out: bool) -> list[str]:
    """The class names of `domains`; raises `InputError` where they cannot be trained on.

    That is: a name that is not UTF-8, fewer than two classes, an empty class folder, one domain alone or a class of
    one domain alone while leave-one-out models are wanted.
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
    if not leave_one_out:
        return classes
    if len(domains) == 1:
        raise InputError(
            f"one source domain only ({domains[0].name}), and leave-one-out models need two or more",
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
    strict: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PretrainResult:
    """Train on `domains` into `run`. Raises `Interrupted` after Ctrl-C, with everything kept for `resume`."""
    progress = progress or Silent()
    classes = check_source(domains, leave_one_out=settings.pretrain.leave_one_out)
    run.check_claim(settings, resume=resume, overwrite=overwrite)
    check_resumed(domains, run, resume=resume)
    make_deterministic(settings.seed)
    try_backbone(settings, len(classes), len(domains), device)  # to be told before anything is written
    loaded, skipped = read_source(domains, classes, settings, workers=workers, strict=strict, progress=progress)
    images = SourceImages.of(loaded)
    run.claim(settings, resume=resume, overwrite=overwrite, images=images)
    jobs: list[tuple[str, list[LabelledDomain]]] = [(ALL, loaded)]
    if settings.pretrain.leave_one_out:
        jobs += [(f"without-{left.name}", [d for d in loaded if d is not left]) for left in loaded]
    accuracies: dict[str, float] = {}
    with stoppable() as stop:
        for label, parts in jobs:
            trainer = SourceTrainer(label, parts, settings, run, len(classes), device)
            if not run.model_path(label).is_file():
                trainer.train(progress, stop)
            accuracies[label] = trainer.final_accuracy()
    source = SourceData(
        classes=classes,
        domains={d.name: {c: int((d.labels == i).sum()) for i, c in enumerate(classes)} for d in loaded},
        fingerprint=images.fingerprint,
        leave_one_out=settings.pretrain.leave_one_out,
        validation_accuracy=accuracies[ALL],
    )
    run.write_source(source)
    run.finish()
    return PretrainResult(source, accuracies, skipped)


def read_source(
    domains: Sequence[Domain],
    classes: Sequence[str],
    settings: Settings,
    *,
    workers: int,
    strict: bool,
    progress: Progress,
) -> tuple[list[LabelledDomain], list[Skipped]]:
    """Decode and split the source images as the settings say: the same way for both training stages."""
    progress.begin("reading images", sum(len(domain.files) for domain in domains))
    loaded = load_labelled(
        domains,
        classes,
        preprocessing_of(settings),
        validation_fraction=settings.data.validation_fraction,
        seed=settings.seed,
        workers=workers,
        strict=strict,
        advance=progress.advance,
    )
    progress.end()
    for line in loaded[0][0].preprocessing.depth.news():
        progress.message(f"{line}; data.white_level sets another")
    return loaded


def trained_network(run: RunFolder, label: str, settings: Settings, num_classes: int) -> nn.Module:
    """A source model that `run` holds, by its label."""
    network = new_network(settings, num_classes, with_weights=False)
    run.put_model(label, network)
    return network


def try_backbone(
    settings: Settings, num_classes: int, num_domains: int, device: torch.device, *, download: bool = True
) -> None:
    """Raises `InputError` where the settings' backbone, weights and generator do not work together: see `trial`.

    Without `download`, weights that the library would fetch are not looked at.
    """
    options = settings.pretrain
    network = new_network(settings, num_classes, with_weights=download or settings.backbone.weights != "default")
    smallest = max(options.batch_size, num_domains - options.leave_one_out, 1)  # a batch holds an image of each domain
    try_training_of(network, settings, num_classes, device, smallest)


def new_network(settings: Settings, num_classes: int, *, with_weights: bool) -> nn.Module:
    """The settings' backbone, with its starting weights or freshly initialised from the seed."""
    torch.manual_seed(derive_seed(settings.seed, "network"))
    backbone = settings.backbone
    network = build_network(backbone.name, num_classes, stem=backbone.stem, width=backbone.width)
    if backbone.width != 1.0 and backbone.weights == "default":
        raise InputError(
            f"there are no default weights for backbone.width={backbone.width}",
            "Use --weights none, or a file that was saved at this width.",
        )
    if with_weights:
        load_weights(network, backbone.name, backbone.weights)
    return network


class SourceTrainer:
    """Empirical risk minimisation over some domains with domain-balanced batches."""

    def __init__(
        self,
        label: str,
        domains: Sequence[LabelledDomain],
        settings: Settings,
        run: RunFolder,
        num_classes: int,
        device: torch.device,
    ) -> None:
        self.label = label
        self.domains = domains
        self.settings = settings
        self.options = settings.pretrain
        self.run = run
        self.num_classes = num_classes
        self.device = device
        self.preprocessing = preprocessing_of(settings)
        rate = self.options.learning_rate
        self.divergence = Divergence(f"model {label!r}", "pretrain", "pretrain.learning_rate", rate)

    def train(self, progress: Progress, stop: StopRequest) -> None:
        """Train, or go on from the checkpoint; writes the model that was best on validation images."""
        options = self.options
        network = new_network(self.settings, self.num_classes, with_weights=True).to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        start, best_accuracy, best_state = 0, -1.0, network.state_dict()
        saved = self.run.load_checkpoint(self.label)
        if saved is not None:
            with self.run.restoring(self.label):
                network.load_state_dict(saved["network"])
                optimizer.load_state_dict(saved["optimizer"])
                start, best_accuracy, best_state = saved["step"], saved["best_accuracy"], saved["best_state"]
        # seeds are by domain, not by model: the models differ in what they see, not in luck
        streams = [
            EndlessShuffle(domain.train, derive_seed(self.settings.seed, "order", domain.name))
            for domain in self.domains
        ]
        progress.begin(f"training {self.label}", options.steps, start)
        seconds = time.monotonic()
        for step in range(start, options.steps):
            loss = self._step(network, optimizer, streams, step)
            done = step + 1
            if done % options.validate_every == 0 or done == options.steps:
                self.divergence.check_state(done, network.state_dict())
                accuracy = self._accuracy(network)
                if accuracy > best_accuracy:
                    best_accuracy = accuracy
                    best_state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
                append_json_line(
                    self.run.pretrain_log,
                    {
                        "model": self.label,
                        "step": done,
                        "loss": loss,
                        "validation_accuracy": accuracy,
                        "seconds": round(time.monotonic() - seconds, 3),
                    },
                )
            progress.advance(f"loss {loss:.3f}, validation {100 * max(best_accuracy, 0):.1f} %")
            if stop.requested or (done % options.validate_every == 0 and done < options.steps):
                self.divergence.check_state(done, network.state_dict())
                self.run.save_checkpoint(
                    self.label,
                    {
                        "network": network.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "step": done,
                        "best_accuracy": best_accuracy,
                        "best_state": best_state,
                    },
                )
            if stop.requested:
                raise Interrupted(
                    f"stopped after step {done} of {options.steps} of model {self.label}",
                    "Go on with the same command and --resume.",
                )
        progress.end()
        self.run.save_model(self.label, best_state)

    def final_accuracy(self) -> float:
        """Accuracy of the written model on the validation images of its domains."""
        network = trained_network(self.run, self.label, self.settings, self.num_classes)
        return self._accuracy(network.to(self.device))

    def _step(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        streams: Sequence[EndlessShuffle],
        step: int,
    ) -> float:
        options = self.options
        transform = make_augmentation(
            image_size=self.preprocessing.image_size,
            crop=options.crop,
            flip=options.flip,
            jitter=options.jitter,
        )
        pixels, labels = [], []
        for domain, stream, share in zip(
            self.domains, streams, shares(options.batch_size, len(self.domains)), strict=True
        ):
            chosen = stream.take(step * share, share)
            pixels.append(domain.pixels(chosen))
            labels.append(domain.labels[chosen])
        images = augment(transform, torch.cat(pixels), derive_seed(self.settings.seed, self.label, "augment", step))
        rate = learning_rate_at(step, steps=options.steps, peak=options.learning_rate, warmup=options.warmup)
        set_learning_rate(optimizer, rate)
        network.train()
        with autocast(options.precision, self.device):
            logits = network(self.preprocessing.network_input(images, self.device))
            loss = F.cross_entropy(
                logits.float(), torch.cat(labels).to(self.device), label_smoothing=options.label_smoothing
            )
        value = self.divergence.check_loss(step + 1, float(loss.detach()))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return value

    @torch.no_grad()
    def _accuracy(self, network: nn.Module) -> float:
        """Mean over the domains of the accuracy on their validation images."""
        network.eval()
        found: list[float] = []
        for domain in self.domains:
            correct = 0
            for start in range(0, len(domain.validation), self.options.batch_size):
                chosen = domain.validation[start : start + self.options.batch_size]
                inputs = self.preprocessing.network_input(domain.pixels(chosen), self.device)
                logits = self.divergence.check_logits(network(inputs))
                correct += int((logits.argmax(dim=1).cpu() == domain.labels[chosen]).sum())
            if domain.validation:
                found.append(correct / len(domain.validation))
        return sum(found) / len(found) if found else 0.0
