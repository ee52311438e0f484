"""The loop that trains a source model: batches, validation, checkpoints; and the worker that does so in a crew."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from gformer_cli.compute.crew import Asked, Line
from gformer_cli.compute.device import autocast, make_deterministic
from gformer_cli.compute.pace import Pace
from gformer_cli.config import Settings
from gformer_cli.data.augment import augment, make_augmentation
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.samplers import EndlessShuffle, shares
from gformer_cli.data.shared import SharedImages
from gformer_cli.errors import InputError, Interrupted
from gformer_cli.files import append_json_line
from gformer_cli.images.depth import Depth
from gformer_cli.images.preprocessing import Preprocessing
from gformer_cli.networks.build import build_network
from gformer_cli.networks.weights import load_weights
from gformer_cli.progress import Progress, Silent, StopRequest
from gformer_cli.seeding import derive_seed
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.schedule import learning_rate_at, set_learning_rate


def preprocessing_of(settings: Settings) -> Preprocessing:
    """The part of the settings that says how a file becomes an input."""
    data = settings.data
    return Preprocessing(data.image_size, data.resize, data.mean, data.std, Depth(data.white_level))


def trained_network(run: RunFolder, label: str, settings: Settings, num_classes: int) -> nn.Module:
    """A source model that `run` holds, by its label."""
    network = new_network(settings, num_classes, with_weights=False)
    run.put_model(label, network)
    return network


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

    def leg(self, label: str) -> Leg:
        """Train the model `label` on from where it stands; a finished one is only measured."""
        own = self.settings, self.run, self.num_classes, self.device
        trainer = SourceTrainer(label, self.parts[label], *own, pace=self.pace)
        step = self.settings.pretrain.steps
        if not self.run.model_path(label).is_file():
            step = trainer.train(self.progress, self.stop, to_checkpoint=self.by_legs)
        finished = step == self.settings.pretrain.steps
        return Leg(step, trainer.final_accuracy() if finished else None)


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


@dataclass
class _State:
    """Where a training stands."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    best_accuracy: float = -1.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    """The tensors of the model that was best on validation images."""


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
        *,
        pace: Pace | None = None,
    ) -> None:
        self.label = label
        self.domains = domains
        self.settings = settings
        self.options = settings.pretrain
        self.run = run
        self.num_classes = num_classes
        self.device = device
        self.pace = pace or Pace(torch.get_num_threads(), fixed=True)
        self.preprocessing = preprocessing_of(settings)
        rate = self.options.learning_rate
        self.divergence = Divergence(f"model {label!r}", "pretrain", "pretrain.learning_rate", rate)

    def train(self, progress: Progress, stop: StopRequest, *, to_checkpoint: bool = False) -> int:
        """Train from the last checkpoint on, to the end or with `to_checkpoint` to the next; returns the steps done.

        At the end the model that was best on validation images is written.
        """
        options, state, streams = self.options, self._state(), self.streams()
        progress.begin(f"training {self.label}", options.steps, state.step)
        began = time.monotonic()
        while state.step < options.steps:
            with self.pace.step():
                loss = self._step(state.network, state.optimizer, streams, state.step)
            state.step += 1
            at_checkpoint = state.step % options.validate_every == 0 and state.step < options.steps
            if at_checkpoint or state.step == options.steps:
                self._validate(state, loss, time.monotonic() - began)
            progress.advance(f"loss {loss:.3f}, validation {100 * max(state.best_accuracy, 0):.1f} %")
            if stop.requested or at_checkpoint:
                self._save(state)
            if stop.requested:
                raise Interrupted(
                    f"stopped after step {state.step} of {options.steps} of model {self.label}",
                    "Go on with the same command and --resume.",
                )
            if at_checkpoint and to_checkpoint:
                return state.step
        progress.end()
        self.run.save_model(self.label, state.best)
        return state.step

    def streams(self) -> list[EndlessShuffle]:
        """The order in which each domain's images come; seeds are by domain, not by model: models that differ in what
        they see do not differ in luck."""
        return [
            EndlessShuffle(domain.train, derive_seed(self.settings.seed, "order", domain.name))
            for domain in self.domains
        ]

    def _state(self) -> _State:
        """That of the last checkpoint, or of a training that begins."""
        options = self.options
        network = new_network(self.settings, self.num_classes, with_weights=True).to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
        state = _State(network, optimizer, best=network.state_dict())
        saved = self.run.load_checkpoint(self.label)
        if saved is not None:
            with self.run.restoring(self.label):
                network.load_state_dict(saved["network"])
                optimizer.load_state_dict(saved["optimizer"])
                state.step, state.best_accuracy, state.best = saved["step"], saved["best_accuracy"], saved["best_state"]
        return state

    def _save(self, state: _State) -> None:
        self.divergence.check_state(state.step, state.network.state_dict())
        self.run.save_checkpoint(
            self.label,
            {
                "network": state.network.state_dict(),
                "optimizer": state.optimizer.state_dict(),
                "step": state.step,
                "best_accuracy": state.best_accuracy,
                "best_state": state.best,
            },
        )

    def _validate(self, state: _State, loss: float, seconds: float) -> None:
        self.divergence.check_state(state.step, state.network.state_dict())
        accuracy = self._accuracy(state.network)
        if accuracy > state.best_accuracy:
            state.best_accuracy = accuracy
            state.best = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
        append_json_line(
            self.run.pretrain_log,
            {
                "model": self.label,
                "step": state.step,
                "loss": loss,
                "validation_accuracy": accuracy,
                "threads": self.pace.threads,
                "seconds": round(seconds, 3),
            },
        )

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
        # dropout draws from torch's own generator: a step must not depend on what came before it in this process
        torch.manual_seed(derive_seed(self.settings.seed, self.label, "step", step))
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
