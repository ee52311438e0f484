"""What training a source model is: its batches, its loss, its validation."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F

from gformer_cli.compute import ranks
from gformer_cli.compute.device import autocast
from gformer_cli.compute.pace import Pace
from gformer_cli.core.backbone import Backbone
from gformer_cli.data.augment import augment, make_augmentation
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.loader import Reader
from gformer_cli.data.samplers import EndlessShuffle, shares
from gformer_cli.networks.norms import AdaptiveNorm
from gformer_cli.progress import Progress, StopRequest
from gformer_cli.seeding import derive_seed
from gformer_cli.settings import Settings
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.loop import Loop
from gformer_cli.train.recorded import plain_batches
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.schedule import (
    end_after,
    held_rate_at,
    learning_rate_at,
    longest_hold,
    set_learning_rate,
)
from gformer_cli.train.source_models import new_network, preprocessing_of
from gformer_cli.train.team import Team


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
        workers: int = 0,
        together: bool = False,
    ) -> None:
        """Images are read ahead by so many `workers`, where there is work for them. `together` says that all processes
        of torchrun train this model."""
        self.label, self.title, self.task = label, f"model {label}", f"training {label}"
        self.domains = domains
        self.settings = settings
        self.options = settings.pretrain
        self.run = run
        self.device = device
        self.pace = pace or Pace(torch.get_num_threads(), fixed=True)
        self.preprocessing = preprocessing_of(settings)
        rate = self.options.learning_rate
        self.divergence = Divergence(f"model {label!r}", "pretrain", "pretrain.learning_rate", rate)
        self.network = new_network(settings, num_classes, with_weights=True).to(device)
        self.team = Team(self.network, device, together=together)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=self.options.weight_decay)
        # seeds are by domain, not by model: models that differ in what they see do not differ in luck
        self.streams = [
            EndlessShuffle(domain.train, derive_seed(settings.seed, "order", domain.name)) for domain in domains
        ]
        self.shares = shares(self.options.batch_size, len(domains))
        """Images of each domain in a batch."""
        steps, pinned = self.options.steps, device.type == "cuda"
        kept = all(domain.in_memory for domain in domains)
        # a GPU waits for what is augmented; where pixels lie in memory, a CPU has nothing better to do
        ahead = 0 if kept and not pinned else workers
        self.batches = Reader(self._batch, lambda number: range(number, steps), workers=ahead, pinned=pinned)
        held_out = self.held_out = self.team.share(list(self._held_out()))
        self.validation = Reader(
            lambda number: (held_out[number][0].pixels(held_out[number][1]),),
            lambda number: range(number, len(held_out)),
            workers=0 if kept else workers,
            pinned=pinned,
        )
        self.loss = 0.0
        """Of the last step."""
        self.accuracy = 0.0
        """Of the last validation."""
        self.hold: int | None = None
        """With patience: the steps after which the learning rate falls; None as long as validation rises."""

    def train(self, progress: Progress, stop: StopRequest, *, to_checkpoint: bool = False) -> int:
        """Train from the last checkpoint on, to the end or with `to_checkpoint` to the next; returns the steps done.

        At the end the model that was best on validation images is written.
        """
        options, checkpoint, log = self.options, self.run.checkpoint(self.label), self.run.pretrain_log
        held = options.steps if options.patience is None else longest_hold(options.steps)
        every, patience = options.validate_every, options.patience
        together = self.team.together
        loop = Loop(self, checkpoint, log, steps=held, validate_every=every, patience=patience, together=together)
        if self.hold is None:
            loop.train(progress, stop, to_checkpoint=to_checkpoint)
            self.hold = loop.step if loop.finished and patience is not None else None
        if self.hold is not None:
            loop.steps, loop.patience = end_after(self.hold, options.steps), None
            loop.train(progress, stop, to_checkpoint=to_checkpoint)
        if loop.finished:
            self.network.load_state_dict(loop.best)
            self._record()
            self._save()
        return loop.step

    def _save(self) -> None:
        def save() -> None:
            self.run.save_model(self.label, self.network.state_dict())

        if self.team.together:
            ranks.from_first(save)
        else:
            save()

    def _record(self) -> None:
        """Record what layers without statistics of their own show of the training images, as they are."""
        if all(layer.of_batch for layer in self.network.modules() if isinstance(layer, AdaptiveNorm)):
            return
        copied = copy.deepcopy(self.network)  # a backbone may add to its network, and what is saved has known names
        backbone = Backbone(copied, image_size=self.preprocessing.image_size, head=self.settings.backbone.head)
        with self.pace.step():
            backbone.freeze().record(plain_batches(self.domains, self.options.batch_size, self.device))
        self.network.load_state_dict(copied.state_dict(), strict=False)

    def final_accuracy(self) -> float:
        """Accuracy of the written model on the validation images of its domains."""
        self.run.put_model(self.label, self.network)
        return self.validate()

    def close(self) -> None:
        """End the processes that read images."""
        self.batches.close()
        self.validation.close()

    def start(self) -> float:
        return -1.0  # whatever is trained is better than what is not

    def weights(self) -> dict[str, torch.Tensor]:
        return self.network.state_dict()

    kept_weights = weights

    def state(self) -> dict[str, Any]:
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state if self.hold is None else {**state, "hold": self.hold}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.hold = saved.get("hold")

    def figures(self) -> dict[str, float]:
        return {"loss": self.loss, "validation_accuracy": self.accuracy}

    def note(self, best: float, steps_per_second: float) -> str:
        return f"validation {max(best, 0.0):.1%}"

    def step(self, number: int) -> float:
        """One update from a batch that holds the domains alike; returns its loss."""
        options = self.options
        with self.pace.step():
            images, labels = self.batches.get(number)
            set_learning_rate(self.optimizer, self._rate(number))
            self.team.network.train()
            # dropout draws from torch's own generator: a step must not depend on what came before it in this process
            torch.manual_seed(derive_seed(self.settings.seed, self.label, "step", number, *self._part))
            with autocast(options.precision, self.device):
                logits = self.team.network(self.preprocessing.network_input(images, self.device))
                loss = F.cross_entropy(logits.float(), labels.to(self.device), label_smoothing=options.label_smoothing)
            loss = self.team.weighed(loss, len(labels), sum(self.shares))
            self.loss = self.divergence.check_loss(number + 1, self.team.mean(float(loss.detach())))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return self.loss

    def _rate(self, number: int) -> float:
        options = self.options
        if options.patience is None:
            return learning_rate_at(number, steps=options.steps, peak=options.learning_rate, warmup=options.warmup)
        peak, warmup = options.learning_rate, options.warmup
        return held_rate_at(number, hold=self.hold, steps=options.steps, peak=peak, warmup=warmup)

    def _batch(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Augmented pixels, (B, 3, S, S), and labels, (B,), of step `number`."""
        options = self.options
        transform = make_augmentation(
            image_size=self.preprocessing.image_size,
            crop=options.crop,
            flip=options.flip,
            jitter=options.jitter,
        )
        pixels, labels, before = [], [], 0
        for domain, stream, share in zip(self.domains, self.streams, self.shares, strict=True):
            own = self.team.share(stream.take(number * share, share), before)
            before += share
            if own:
                pixels.append(domain.pixels(own))
                labels.append(domain.labels[own])
        seed = derive_seed(self.settings.seed, self.label, "augment", number, *self._part)
        return augment(transform, torch.cat(pixels), seed), torch.cat(labels)

    @property
    def _part(self) -> list[int]:
        """What tells the draws of processes that share a batch from each other."""
        return [self.team.rank] if self.team.together else []

    def _held_out(self) -> Iterator[tuple[LabelledDomain, Sequence[int]]]:
        """Batches of validation images: positions in a domain."""
        for domain in self.domains:
            for start in range(0, len(domain.validation), self.options.batch_size):
                yield domain, domain.validation[start : start + self.options.batch_size]

    @torch.no_grad()
    def validate(self) -> float:
        """Mean over the domains of the accuracy on their validation images."""
        self.network.eval()
        correct = dict.fromkeys((domain.name for domain in self.domains), 0)
        for number, (domain, chosen) in enumerate(self.held_out):
            (pixels,) = self.validation.get(number)
            inputs = self.preprocessing.network_input(pixels, self.device)
            logits = self.divergence.check_logits(self.network(inputs))
            correct[domain.name] += int((logits.argmax(dim=1).cpu() == domain.labels[chosen]).sum())
        counted = zip(self.domains, self.team.summed([*correct.values()]), strict=True)
        accuracies = [count / len(domain.validation) for domain, count in counted if domain.validation]
        self.accuracy = sum(accuracies) / len(accuracies) if accuracies else 0.0
        return self.accuracy
