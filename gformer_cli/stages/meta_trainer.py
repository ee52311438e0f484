"""The loop that trains a generator: episodes, both loss terms, validation, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gformer_cli.config import Settings, to_yaml
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.generators import Generator
from gformer_cli.core.losses import fine_tuned, parameter_distance, parameter_units, relative_cross_entropy
from gformer_cli.core.probe import prior_mix
from gformer_cli.data.episodes import Episode, EpisodeSampler, validation_episodes
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError, Interrupted
from gformer_cli.files import append_json_line
from gformer_cli.stages.divergence import Divergence
from gformer_cli.stages.pretrain import trained_network
from gformer_cli.stages.progress import Progress, stoppable
from gformer_cli.stages.run_folder import ALL, RunFolder, SourceData
from gformer_cli.stages.training import autocast, learning_rate_at, set_learning_rate

SMALL_BATCH = 8
"""Validation episodes come in the largest batch size and in this one."""
GENERATOR, CONTROL = "generator", "control"
"""What a run meta-trains: the generator, and its input-blind control."""


@dataclass(frozen=True)
class EpisodeLoss:
    """The two terms of one episode's loss."""

    cross_entropy: torch.Tensor
    huber: torch.Tensor
    """Distance to fine-tuned parameters, without its weight; 0 where the term is switched off."""
    accuracy: float


class SourceModels:
    """Frozen source models by the domain they have not seen."""

    def __init__(self, run: RunFolder, source: SourceData, settings: Settings, device: torch.device) -> None:
        self.full = self._load(run, ALL, source, settings, device)
        self._without = {
            name: self._load(run, f"without-{name}", source, settings, device)
            for name in (source.domains if source.leave_one_out else ())
        }

    def unaware_of(self, domain: str) -> Backbone:
        """The model for episodes on `domain`: one that never saw it, or the full model where there is none."""
        return self._without.get(domain, self.full)

    @staticmethod
    def _load(run: RunFolder, label: str, source: SourceData, settings: Settings, device: torch.device) -> Backbone:
        return Backbone(trained_network(run, label, settings, len(source.classes))).freeze().to(device)


class MetaTrainer:
    """Trains a generator in place, episode by episode."""

    def __init__(
        self,
        method: GeneralizeFormer,
        models: SourceModels,
        domains: Sequence[LabelledDomain],
        settings: Settings,
        run: RunFolder,
        device: torch.device,
        *,
        label: str,
        leave_one_out: bool,
    ) -> None:
        self.label = label
        self.method = method
        self.models = models
        self.settings = settings
        self.options = settings.meta_train
        self.run = run
        self.device = device
        self.divergence = Divergence(label, "meta-train", "meta_train.learning_rate", self.options.learning_rate)
        self.average = (
            AveragedModel(method.generator, multi_avg_fn=get_ema_multi_avg_fn(self.options.ema))  # type: ignore[no-untyped-call]
            if self.options.ema
            else None
        )
        kept = method.generator if self.average is None else cast(Generator, self.average.module)
        self.kept = GeneralizeFormer(
            kept, prior_count=method.prior_count, single_pass=method.single_pass, economy=method.economy
        )
        """What is validated and kept: the generator, or the average of its weights."""
        self.sampler = EpisodeSampler(
            domains,
            settings.seed,
            self.options.largest_batch,
            self.options.few_classes,
            # without leave-one-out models, only a shift makes images that the model has not seen
            settings.shifts.probability if leave_one_out else 1.0,
            settings.shifts.strength,
            settings.shifts.families,
        )
        self.validation = validation_episodes(
            domains,
            seed=settings.seed,
            batch_sizes=sorted({min(SMALL_BATCH, self.options.largest_batch), self.options.largest_batch}),
            batches=self.options.validation_batches,
            few_classes=self.options.validation_few_classes,
            unshifted=leave_one_out,
            strength=settings.shifts.strength,
        )
        if not self.validation:
            raise InputError(
                "no validation images: every class of every source domain has a single readable image",
                "Add images: the generator is selected on images that nothing was trained on.",
            )

    def train(self, progress: Progress) -> dict[str, float]:
        """Leaves the best generator in place and returns its validation figures."""
        options, generator = self.options, self.method.generator
        optimizer = torch.optim.AdamW(
            generator.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        start, best_state, recent, idle = 0, _copy(generator), _Mean(), 0
        saved = self.run.load_checkpoint(self.label)
        if saved is None:
            # the untrained generator is the source model under mixed statistics: training has to beat it
            best_accuracy = untrained = self.accuracy("gformer")
        else:
            if saved.get("settings") != to_yaml(self.settings):
                raise InputError(
                    f"{self.run.root} was meta-trained so far with other settings",
                    "Resume with the command it was started with, or start again with --overwrite.",
                )
            with self.run.restoring(self.label):
                generator.load_state_dict(saved["generator"])
                optimizer.load_state_dict(saved["optimizer"])
                start, best_accuracy, best_state = saved["step"], saved["best_accuracy"], saved["best_state"]
                untrained = saved["untrained"]
                recent, idle = _Mean(saved["recent_sums"], saved["recent_count"]), saved["idle"]
                if self.average is not None:
                    self.average.load_state_dict(saved["average"])
        controls = {"source": self.accuracy("source"), "bn": self.accuracy("bn")}
        progress.message(
            f"validation episodes: source {100 * controls['source']:.1f} %, bn {100 * controls['bn']:.1f} %"
        )
        progress.begin(f"meta-training {self.label}", options.steps, start)
        began = time.monotonic()
        with stoppable() as stop:
            for step in range(start, options.steps):
                recent.add(**self.step(step, optimizer))
                if self.average is not None:
                    self.average.update_parameters(generator)
                done = step + 1
                validated = done % options.validate_every == 0 or done == options.steps
                if validated:
                    self.divergence.check_state(done, self.kept.generator.state_dict())
                    accuracy = self.accuracy("gformer")
                    idle += 1
                    if accuracy > best_accuracy:
                        best_accuracy, best_state, idle = accuracy, _copy(self.kept.generator), 0
                    append_json_line(
                        self.run.meta_train_log,
                        {
                            "model": self.label,
                            "step": done,
                            **recent.take(),
                            "validation_accuracy": accuracy,
                            "validation_source": controls["source"],
                            "validation_bn": controls["bn"],
                            "seconds": round(time.monotonic() - began, 3),
                        },
                    )
                rate = (done - start) * options.episodes_per_step / (time.monotonic() - began)
                progress.advance(
                    f"loss {recent.last:.3f}, validation {best_accuracy:.1%} "
                    f"(source {controls['source']:.1%}, bn {controls['bn']:.1%}), {rate:.1f} episodes/s"
                )
                if stop.requested or validated:
                    self.divergence.check_state(done, generator.state_dict())
                    self.run.save_checkpoint(
                        self.label,
                        {
                            "generator": generator.state_dict(),
                            "optimizer": optimizer.state_dict(),
                            "step": done,
                            "best_accuracy": best_accuracy,
                            "best_state": best_state,
                            "recent_sums": recent.sums,
                            "recent_count": recent.count,
                            "untrained": untrained,
                            "idle": idle,
                            "average": None if self.average is None else self.average.state_dict(),
                            "settings": to_yaml(self.settings),
                        },
                    )
                if stop.requested:
                    raise Interrupted(
                        f"stopped after step {done} of {options.steps} of the {self.label}",
                        "Go on with the same command and --resume.",
                    )
                if options.patience is not None and idle >= options.patience:
                    progress.message(f"stopped after step {done}: {idle} validations without a better one")
                    break
        progress.end()
        if best_accuracy == untrained:
            progress.warning(
                "no trained generator beat the untrained one on the validation episodes, so that one is kept: it mixes "
                "statistics and changes nothing else. Try more steps, or another learning rate."
            )
        generator.load_state_dict(best_state)
        return {"gformer": best_accuracy, **controls}

    def step(self, number: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """One update from several episodes; returns their mean loss terms and accuracy."""
        options, count = self.options, self.options.episodes_per_step
        optimizer.zero_grad(set_to_none=True)
        figures = _Mean()
        for episode in range(number * count, (number + 1) * count):
            loss = self.loss(self.sampler.draw(episode))
            total = loss.cross_entropy + options.huber_weight * loss.huber
            self.divergence.check_loss(number + 1, total.item())
            (total / count).backward()  # type: ignore[no-untyped-call]
            figures.add(cross_entropy=loss.cross_entropy.item(), huber=loss.huber.item(), accuracy=loss.accuracy)
        rate = learning_rate_at(number, steps=options.steps, peak=options.learning_rate, warmup=options.warmup)
        set_learning_rate(optimizer, rate)
        norm = torch.nn.utils.clip_grad_norm_(self.method.generator.parameters(), options.clip)
        self.divergence.check_loss(number + 1, norm.item(), "the norm of its gradient")
        optimizer.step()
        return figures.take()

    def loss(self, episode: Episode) -> EpisodeLoss:
        """CE(f(x; θ_t), y), plain or relative, and Huber(θ_t, θ*), both with gradients to the generator's weights."""
        options = self.options
        backbone = self.models.unaware_of(episode.domain.name)
        images, labels = episode.inputs(self.device), episode.labels(self.device)
        with autocast(options.precision, self.device):
            prediction = self.method(backbone, images)
        huber = images.new_zeros(())
        if options.huber_weight > 0.0:
            source = backbone.source_parameters()
            wanted = fine_tuned(
                backbone,
                images,
                labels,
                source.with_mix(prior_mix(backbone, len(images), self.method.prior_count)),
                steps=options.huber_steps,
                learning_rate=options.huber_learning_rate,
            )
            huber = parameter_distance(prediction.parameters.trainable(), wanted.trainable(), parameter_units(source))
        accuracy = float((prediction.logits.argmax(dim=1) == labels).float().mean())
        logits = prediction.logits.float()
        if options.loss == "relative":
            fit = relative_cross_entropy(logits, self._start(backbone, images, prediction).float(), labels)
        else:
            fit = F.cross_entropy(logits, labels)
        return EpisodeLoss(fit, huber, accuracy)

    @torch.no_grad()
    def _start(self, backbone: Backbone, images: torch.Tensor, prediction: Prediction) -> torch.Tensor:
        """Logits (B, K) of the untrained generator: the source parameters under mixed statistics."""
        if not self.method.single_pass and self.method.economy.whole:
            return prediction.seen.logits
        return backbone(images, prediction.seen.source)  # type: ignore[no-any-return]

    @torch.no_grad()
    def accuracy(self, method: str) -> float:
        """Mean accuracy over the validation episodes of `gformer`, `source` or `bn`."""
        found: list[float] = []
        for episode in self.validation:
            backbone = self.models.unaware_of(episode.domain.name)
            images = episode.inputs(self.device)
            if method == "gformer":
                logits = self.kept(backbone, images).logits
            elif method == "bn":
                source = backbone.source_parameters()
                logits = backbone(images, source.with_mix(torch.ones(len(source.gammas), device=self.device)))
            else:
                logits = backbone(images)
            watch = self.divergence if method == "gformer" else source_divergence(self.settings)
            right = watch.check_logits(logits).argmax(dim=1) == episode.labels(self.device)
            found.append(float(right.float().mean()))
        return sum(found) / len(found)


def source_divergence(settings: Settings) -> Divergence:
    """What to say where the source models, which are frozen by now, answer with what is not finite."""
    return Divergence("source models", "pretrain", "pretrain.learning_rate", settings.pretrain.learning_rate)


class _Mean:
    """Running means since they were last taken."""

    def __init__(self, sums: dict[str, float] | None = None, count: int = 0) -> None:
        self.sums = dict(sums or {})
        self.count = count
        self.last = 0.0
        """The cross-entropy added last."""

    def add(self, **values: float) -> None:
        self.count += 1
        self.last = values["cross_entropy"]
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        found = {name: value / self.count for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return found


def _copy(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
