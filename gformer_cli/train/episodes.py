"""What episodes show: losses and gradients in training, accuracies in validation. The workers of a crew share them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from gformer_cli.compute import ranks
from gformer_cli.compute.device import autocast
from gformer_cli.compute.pace import Pace
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.context import Context
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.losses import (
    fine_tuned,
    logarithmic_cross_entropy,
    parameter_distance,
    parameter_units,
    relative_cross_entropy,
)
from gformer_cli.core.probe import prior_mix
from gformer_cli.data.episodes import Episode, EpisodeSampler, validation_episodes
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.loader import Tensors
from gformer_cli.errors import InputError
from gformer_cli.settings import Settings
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.source_models import SourceModels, source_divergence

_CALL = 6
"""An episode costs about as much as so many images more."""
SMALL_BATCH = 8
"""Validation episodes come in the largest batch size and in this one."""


FIGURES = ("cross_entropy", "huber", "accuracy")
"""What is told of each episode of a step."""


@dataclass(frozen=True)
class Learned:
    """What one episode teaches."""

    gradient: torch.Tensor
    """Of the loss with respect to the generator's weights, one behind the other: (P,)."""
    figures: dict[str, float]


@dataclass(frozen=True)
class EpisodeLoss:
    """The two terms of one episode's loss."""

    cross_entropy: torch.Tensor
    huber: torch.Tensor
    """Distance to fine-tuned parameters, without its weight; 0 where the term is switched off."""
    accuracy: float


class EpisodeWork:
    """The episodes of a run, and what a generator makes of them."""

    def __init__(
        self,
        model: GeneralizeFormer,
        kept: GeneralizeFormer,
        models: SourceModels,
        domains: Sequence[LabelledDomain],
        settings: Settings,
        device: torch.device,
        *,
        label: str,
        leave_one_domain_out: bool,
        per_step: int,
        pace: Pace,
    ) -> None:
        """`kept` is what is validated: the model, or the average of its weights. A step takes `per_step` episodes."""
        self.label = label
        self.pace = pace
        self.model = model
        self.kept = kept
        self.per_step = per_step
        self.models = models
        self.settings = settings
        self.options = settings.meta_train
        self.device = device
        self.divergence = Divergence(label, "meta-train", "meta_train.learning_rate", self.options.learning_rate)
        self.sampler = EpisodeSampler(
            domains,
            seed=settings.seed,
            largest_batch=self.options.largest_batch,
            skewed=self.options.skewed,
            # without leave-one-domain-out models, only a shift makes images that the model has not seen
            shift_probability=settings.shifts.probability if leave_one_domain_out else 1.0,
            shift_strength=settings.shifts.strength,
            families=settings.shifts.families,
            at_home=self.options.at_home,
            two_conditions=self.options.two_conditions,
            context=self.options.context,
            single_pass=self.options.single_pass,
        )
        self.validation = validation_episodes(
            domains,
            seed=settings.seed,
            batch_sizes=sorted({min(SMALL_BATCH, self.options.largest_batch), self.options.largest_batch}),
            batches=self.options.validation_batches,
            skewed=self.options.validation_skewed,
            unshifted=leave_one_domain_out,
            strength=settings.shifts.strength,
            at_home=self.options.at_home > 0.0,
        )
        self.read: Callable[[int], Tensors] | None = None
        """Gives the pixels of a training episode, by its number; None where the episode itself reads them."""
        self.read_held_out: Callable[[int], Tensors] | None = None
        """Likewise of a validation episode."""
        if not self.validation:
            raise InputError(
                "no validation images: every class of every source domain has a single readable image",
                "Add images: the generator is selected on images that nothing was trained on.",
            )

    def learned(self, number: int) -> Learned:
        """The share of episode `number` in its step's gradient."""
        options, parameters = self.options, list(self.model.generator.parameters())
        episode = self._with_pixels(self.sampler.draw(number), self.read, number)
        with self.pace.step(len(episode.positions) + _CALL):
            loss = self.loss(episode)
            total = loss.cross_entropy + options.huber_weight * loss.huber
            self.divergence.check_loss(number // self.per_step + 1, total.item())
            gradients = torch.autograd.grad(total / self.per_step, parameters, allow_unused=True)
        gradient = torch.cat(
            [
                (torch.zeros_like(parameter) if one is None else one).flatten()
                for parameter, one in zip(parameters, gradients, strict=True)
            ]
        )
        values = loss.cross_entropy.item(), loss.huber.item(), loss.accuracy
        return Learned(gradient, dict(zip(FIGURES, values, strict=True)))

    @staticmethod
    def _with_pixels(episode: Episode, read: Callable[[int], Tensors] | None, number: int) -> Episode:
        return episode if read is None else replace(episode, pixels=read(number))

    def loss(self, episode: Episode) -> EpisodeLoss:
        """The fit of f(x; θ_t) to y, and Huber(θ_t, θ*), both with gradients to the generator's weights."""
        options = self.options
        backbone = self.backbone_of(episode)
        images, labels = episode.inputs(self.device), episode.labels(self.device)
        single = self.model.single_pass or episode.single_pass
        with autocast(options.precision, self.device):
            context = self._context(backbone, episode, single)
            prediction = self.model(backbone, images, context, single_pass=single)
        huber = images.new_zeros(())
        if options.huber_weight > 0.0:
            source = backbone.source_parameters()
            wanted = fine_tuned(
                backbone,
                images,
                labels,
                source.with_mix(prior_mix(source, len(images), self.model.prior_count)),
                steps=options.huber_steps,
                learning_rate=options.huber_learning_rate,
            )
            huber = parameter_distance(prediction.parameters.trainable(), wanted.trainable(), parameter_units(source))
        accuracy = float((prediction.logits.argmax(dim=1) == labels).float().mean())
        return EpisodeLoss(self._fit(backbone, images, labels, prediction, single), huber, accuracy)

    def backbone_of(self, episode: Episode) -> Backbone:
        """The source model that `episode` is put to."""
        return self.models.full if episode.at_home else self.models.unaware_of(episode.domain.name)

    def _context(self, backbone: Backbone, episode: Episode, single: bool) -> Context | None:
        if not episode.earlier:
            return None
        context = Context(len(episode.earlier))
        with torch.no_grad():
            for images in episode.earlier_inputs(self.device):
                self.model(backbone, images, context, single_pass=single)
        return context

    def _fit(
        self,
        backbone: Backbone,
        images: torch.Tensor,
        labels: torch.Tensor,
        prediction: Prediction,
        single: bool,
    ) -> torch.Tensor:
        options, logits = self.options, prediction.logits.float()
        if options.loss == "cross_entropy":
            fit = F.cross_entropy(logits, labels)
        elif options.loss == "relative":
            start = self._start(backbone, images, prediction, single)
            fit = relative_cross_entropy(logits, start.float(), labels)
        else:
            fit = logarithmic_cross_entropy(logits, labels)
        if options.harm_weight:
            with torch.no_grad():
                unadapted = (backbone(images) if prediction.source is None else prediction.source).float()
            before = logarithmic_cross_entropy(unadapted, labels)
            fit = fit + options.harm_weight * F.relu(logarithmic_cross_entropy(logits, labels) - before)
        return fit

    @torch.no_grad()
    def _start(self, backbone: Backbone, images: torch.Tensor, prediction: Prediction, single: bool) -> torch.Tensor:
        """Logits (B, K) of the untrained generator: the source parameters under mixed statistics."""
        mixed = not single and not self.model.probes_source and self.model.probe_images == 1.0
        if mixed and prediction.earlier is None:
            return prediction.probe.logits
        return backbone(images, prediction.probe.source, prediction.earlier)  # type: ignore[no-any-return]

    @torch.no_grad()
    def accuracy_on(self, number: int, method: str) -> float:
        """Accuracy on validation episode `number`."""
        episode = self._with_pixels(self.validation[number], self.read_held_out, number)
        backbone = self.backbone_of(episode)
        images = episode.inputs(self.device)
        with self.pace.step(len(images) + _CALL):
            if method == "gformer":
                logits = self.kept(backbone, images).logits
            elif method == "bn":
                logits = backbone(images, backbone.mixing_batchnorm(1.0))
            else:
                logits = backbone(images)
        watch = self.divergence if method == "gformer" else source_divergence(self.settings)
        right = watch.check_logits(logits).argmax(dim=1) == episode.labels(self.device)
        return float(right.float().mean())


def cost_of(episode: Episode) -> int:
    """About how long a generator takes over it, in images."""
    return sum(len(positions) + _CALL for positions in (episode.positions, *episode.earlier))


def validation_shares(works: Sequence[EpisodeWork]) -> list[list[int]]:
    """Which validation episodes each process of torchrun looks at; they are numbered run by run."""
    return ranks.fair_shares([cost_of(episode) for work in works for episode in work.validation])


Works = Mapping[str, Sequence[EpisodeWork]]
"""What a worker of a crew holds: for each training, by its label, the episodes of its runs."""


def learn(works: Works, label: str, run: int, weights: torch.Tensor, number: int) -> Learned:
    """What episode `number` of a run teaches a generator of these weights, (P,)."""
    work = works[label][run]
    put(weights, list(work.model.generator.parameters()))
    return work.learned(number)


def look(works: Works, label: str, run: int, weights: torch.Tensor | None, number: int, method: str) -> float:
    """Accuracy of a method on validation episode `number` of a run, with a generator of these weights, (P,)."""
    work = works[label][run]
    if weights is not None:
        put(weights, list(work.kept.generator.parameters()))
    return work.accuracy_on(number, method)


def flat(module: torch.nn.Module) -> torch.Tensor:
    """The weights of `module`, one behind the other: (P,), a copy."""
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@torch.no_grad()
def put(values: torch.Tensor, places: Sequence[torch.Tensor]) -> None:
    """Copy `values`, (P,), to `places` one behind the other."""
    for place, part in zip(places, torch.split(values, [place.numel() for place in places]), strict=True):
        place.copy_(part.view_as(place))
