"""What meta-training a generator is: its steps, its validation. What an episode shows is in `episodes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import yaml

from gformer_cli.compute.crew import Alone, Crew, map_in_order
from gformer_cli.compute.pace import Pace
from gformer_cli.config import to_yaml, validate
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError
from gformer_cli.preset_files import parse_yaml
from gformer_cli.progress import Progress, StopRequest
from gformer_cli.settings import Settings
from gformer_cli.train.episodes import EpisodeWork, flat, learn, look, put
from gformer_cli.train.loop import Loop
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.schedule import learning_rate_at, set_learning_rate
from gformer_cli.train.source_models import SourceModels

GENERATOR, CONSTANT = "generator", "constant"
"""What a run meta-trains: the generator, and for comparison the constant one."""


class MetaTrainer(EpisodeWork):
    """Trains a generator in place, episode by episode."""

    def __init__(
        self,
        model: GeneralizeFormer,
        models: SourceModels,
        domains: Sequence[LabelledDomain],
        settings: Settings,
        run: RunFolder,
        device: torch.device,
        *,
        label: str,
        leave_one_domain_out: bool,
        pace: Pace | None = None,
    ) -> None:
        own = model, models, domains, settings, device
        super().__init__(*own, label=label, leave_one_domain_out=leave_one_domain_out, pace=pace)
        self.name = label if label == GENERATOR else f"{label} generator"
        self.title, self.task = f"the {self.name}", f"meta-training {self.name}"
        self.run = run
        self.optimizer = torch.optim.AdamW(
            model.generator.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        self.untrained = 0.0
        """Accuracy of the untrained generator on the validation episodes."""
        self.references: dict[str, float] = {}
        """That of the source model, and of its batch statistics."""
        self.recent = _Means()
        """Of the steps since the last validation."""
        self.crew: Crew[Mapping[str, EpisodeWork]] = Alone({label: self})
        """Whose workers hold the episodes of the same label: this trainer, unless they are shared."""

    def train(self, progress: Progress, stop: StopRequest | None = None) -> dict[str, float]:
        """Leaves the best generator in place and returns its validation figures.

        Goes on from the last checkpoint, and ends after a step once `stop` asks: see `Loop.train`.
        """
        options = self.options
        loop = Loop(
            self,
            self.run.checkpoint(self.label),
            self.run.meta_train_log,
            steps=options.steps,
            validate_every=options.validate_every,
            patience=options.patience,
        )
        self.references = {"source": self.accuracy("source"), "bn": self.accuracy("bn")}
        progress.message("validation episodes: source {source:.1%}, bn {bn:.1%}".format_map(self.references))
        loop.train(progress, stop or StopRequest())
        if loop.best_accuracy == self.untrained:
            progress.warning(
                f"no trained {self.name} beat the untrained one on the validation episodes, so that one is kept: "
                "it mixes statistics and changes nothing else. Try more steps, or another learning rate."
            )
        self.model.generator.load_state_dict(loop.best)
        return {"gformer": loop.best_accuracy, **self.references}

    def start(self) -> float:
        # the untrained generator is the source model under mixed statistics: training has to beat it
        self.untrained = self.validate()
        return self.untrained

    def validate(self) -> float:
        return self.accuracy("gformer")

    def weights(self) -> dict[str, torch.Tensor]:
        return self.model.generator.state_dict()

    def kept_weights(self) -> dict[str, torch.Tensor]:
        return self.kept.generator.state_dict()

    def state(self) -> dict[str, Any]:
        return {
            "generator": self.model.generator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "untrained": self.untrained,
            "recent_sums": self.recent.sums,
            "recent_count": self.recent.count,
            "settings": to_yaml(self.settings),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        if not _same_settings(saved.get("settings"), self.settings):
            raise InputError(
                f"{self.run.root} was meta-trained so far with other settings",
                "Resume with the command it was started with, or start again with --overwrite.",
            )
        self.model.generator.load_state_dict(saved["generator"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.untrained = saved["untrained"]
        self.recent = _Means(saved["recent_sums"], saved["recent_count"])

    def figures(self, accuracy: float) -> dict[str, float]:
        references = {f"validation_{name}": value for name, value in self.references.items()}
        return {**self.recent.take(), "validation_accuracy": accuracy, **references}

    def note(self, steps_per_second: float) -> str:
        rate = steps_per_second * self.options.episodes_per_step
        return " (source {source:.1%}, bn {bn:.1%})".format_map(self.references) + f", {rate:.1f} episodes/s"

    def step(self, number: int) -> float:
        """One update from several episodes; returns the mean of their cross-entropies."""
        options, count, generator = self.options, self.options.episodes_per_step, self.model.generator
        weights = flat(generator)
        pieces = [(self.label, weights, episode) for episode in range(number * count, (number + 1) * count)]
        means, gradient = _Means(), torch.zeros_like(weights)
        for learned in map_in_order(self.crew, learn, pieces):  # summed in the order of episodes, whoever was first
            gradient += learned.gradient
            means.add(**learned.figures)
        self.optimizer.zero_grad(set_to_none=True)
        put(gradient, [_gradient_of(parameter) for parameter in generator.parameters()])
        rate = learning_rate_at(number, steps=options.steps, peak=options.learning_rate, warmup=options.warmup)
        set_learning_rate(self.optimizer, rate)
        norm = torch.nn.utils.clip_grad_norm_(generator.parameters(), options.clip)
        self.divergence.check_loss(number + 1, norm.item(), "the norm of its gradient")
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(generator)
        figures = means.take()
        self.recent.add(**figures)
        return figures["cross_entropy"]

    def accuracy(self, method: str) -> float:
        """Mean accuracy over the validation episodes of `gformer`, `source` or `bn`."""
        weights = flat(self.kept.generator) if method == "gformer" else None
        pieces = [(self.label, weights, number, method) for number in range(len(self.validation))]
        accuracies = map_in_order(self.crew, look, pieces)
        return sum(accuracies) / len(accuracies)


def _same_settings(saved: object, settings: Settings) -> bool:
    """Whether the YAML in a checkpoint means `settings`; an earlier version called some of them otherwise."""
    try:
        return isinstance(saved, str) and validate(parse_yaml(saved)) == settings
    except (InputError, yaml.YAMLError):
        return False


def _gradient_of(parameter: torch.nn.Parameter) -> torch.Tensor:
    parameter.grad = torch.empty_like(parameter)
    return parameter.grad


class _Means:
    """Means of figures since they were last taken."""

    def __init__(self, sums: Mapping[str, float] | None = None, count: int = 0) -> None:
        self.sums = dict(sums or {})
        self.count = count

    def add(self, **values: float) -> None:
        self.count += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def take(self) -> dict[str, float]:
        means = {name: value / self.count for name, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means
