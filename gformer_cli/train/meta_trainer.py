"""The loop that trains a generator: steps, validation, checkpoints. What an episode shows is in `episode_work`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from gformer_cli.compute.crew import Alone, Crew, map_in_order
from gformer_cli.compute.pace import Pace
from gformer_cli.config import Settings, to_yaml
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.errors import InputError, Interrupted
from gformer_cli.files import append_json_line
from gformer_cli.progress import Progress, StopRequest
from gformer_cli.train.episode_work import EpisodeWork, flat, learn, look, put
from gformer_cli.train.run_folder import RunFolder
from gformer_cli.train.schedule import learning_rate_at, set_learning_rate
from gformer_cli.train.source_models import SourceModels

GENERATOR, CONTROL = "generator", "control"
"""What a run meta-trains: the generator, and its input-blind control."""


class MetaTrainer(EpisodeWork):
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
        pace: Pace | None = None,
    ) -> None:
        own = method, models, domains, settings, device
        super().__init__(*own, label=label, leave_one_out=leave_one_out, pace=pace)
        self.run = run
        self.crew: Crew[Mapping[str, EpisodeWork]] = Alone({label: self})
        """Whose workers hold the episodes of the same label: this trainer, unless they are shared."""

    def train(self, progress: Progress, stop: StopRequest | None = None) -> dict[str, float]:
        """Leaves the best generator in place and returns its validation figures; ends after a step once `stop` asks."""
        options, generator, stop = self.options, self.method.generator, stop or StopRequest()
        optimizer = torch.optim.AdamW(
            generator.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        state = self._state(optimizer)
        controls = {"source": self.accuracy("source"), "bn": self.accuracy("bn")}
        progress.message(
            f"validation episodes: source {100 * controls['source']:.1f} %, bn {100 * controls['bn']:.1f} %"
        )
        progress.begin(f"meta-training {self.label}", options.steps, state.step)
        start, began = state.step, time.monotonic()
        while state.step < options.steps:
            state.recent.add(**self.step(state.step, optimizer))
            if self.average is not None:
                self.average.update_parameters(generator)
            state.step += 1
            validated = state.step % options.validate_every == 0 or state.step == options.steps
            if validated:
                self._validate(state, controls, time.monotonic() - began)
            rate = (state.step - start) * options.episodes_per_step / (time.monotonic() - began)
            progress.advance(
                f"loss {state.recent.last:.3f}, validation {state.best_accuracy:.1%} "
                f"(source {controls['source']:.1%}, bn {controls['bn']:.1%}), {rate:.1f} episodes/s"
            )
            if stop.requested or validated:
                self._save(state, optimizer)
            if stop.requested:
                raise Interrupted(
                    f"stopped after step {state.step} of {options.steps} of the {self.label}",
                    "Go on with the same command and --resume.",
                )
            if options.patience is not None and state.idle >= options.patience:
                progress.message(f"stopped after step {state.step}: {state.idle} validations without a better one")
                break
        progress.end()
        if state.best_accuracy == state.untrained:
            progress.warning(
                f"no trained {self.label} beat the untrained one on the validation episodes, so that one is kept: "
                "it mixes statistics and changes nothing else. Try more steps, or another learning rate."
            )
        generator.load_state_dict(state.best)
        return {"gformer": state.best_accuracy, **controls}

    def _state(self, optimizer: torch.optim.Optimizer) -> _State:
        """That of the last checkpoint, or of a training that begins."""
        saved = self.run.load_checkpoint(self.label)
        if saved is None:
            # the untrained generator is the source model under mixed statistics: training has to beat it
            untrained = self.accuracy("gformer")
            return _State(untrained, best_accuracy=untrained, best=_copy(self.method.generator))
        if saved.get("settings") != to_yaml(self.settings):
            raise InputError(
                f"{self.run.root} was meta-trained so far with other settings",
                "Resume with the command it was started with, or start again with --overwrite.",
            )
        with self.run.restoring(self.label):
            self.method.generator.load_state_dict(saved["generator"])
            optimizer.load_state_dict(saved["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(saved["average"])
            return _State(
                saved["untrained"],
                step=saved["step"],
                best_accuracy=saved["best_accuracy"],
                best=saved["best_state"],
                recent=_Mean(saved["recent_sums"], saved["recent_count"]),
                idle=saved["idle"],
            )

    def _save(self, state: _State, optimizer: torch.optim.Optimizer) -> None:
        generator = self.method.generator.state_dict()
        self.divergence.check_state(state.step, generator)
        self.run.save_checkpoint(
            self.label,
            {
                "generator": generator,
                "optimizer": optimizer.state_dict(),
                "step": state.step,
                "best_accuracy": state.best_accuracy,
                "best_state": state.best,
                "recent_sums": state.recent.sums,
                "recent_count": state.recent.count,
                "untrained": state.untrained,
                "idle": state.idle,
                "average": None if self.average is None else self.average.state_dict(),
                "settings": to_yaml(self.settings),
            },
        )

    def _validate(self, state: _State, controls: Mapping[str, float], seconds: float) -> None:
        self.divergence.check_state(state.step, self.kept.generator.state_dict())
        accuracy = self.accuracy("gformer")
        state.idle += 1
        if accuracy > state.best_accuracy:
            state.best_accuracy, state.best, state.idle = accuracy, _copy(self.kept.generator), 0
        append_json_line(
            self.run.meta_train_log,
            {
                "model": self.label,
                "step": state.step,
                **state.recent.take(),
                "validation_accuracy": accuracy,
                "validation_source": controls["source"],
                "validation_bn": controls["bn"],
                "threads": self.pace.threads,
                "seconds": round(seconds, 3),
            },
        )

    def step(self, number: int, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """One update from several episodes; returns their mean loss terms and accuracy."""
        options, count = self.options, self.options.episodes_per_step
        weights = flat(self.method.generator)
        pieces = [(self.label, weights, episode) for episode in range(number * count, (number + 1) * count)]
        figures, gradient = _Mean(), torch.zeros_like(weights)
        for learned in map_in_order(self.crew, learn, pieces):  # summed in the order of episodes, whoever was first
            gradient += learned.gradient
            figures.add(**learned.figures)
        optimizer.zero_grad(set_to_none=True)
        put(gradient, [_gradient_of(parameter) for parameter in self.method.generator.parameters()])
        rate = learning_rate_at(number, steps=options.steps, peak=options.learning_rate, warmup=options.warmup)
        set_learning_rate(optimizer, rate)
        norm = torch.nn.utils.clip_grad_norm_(self.method.generator.parameters(), options.clip)
        self.divergence.check_loss(number + 1, norm.item(), "the norm of its gradient")
        optimizer.step()
        return figures.take()

    def accuracy(self, method: str) -> float:
        """Mean accuracy over the validation episodes of `gformer`, `source` or `bn`."""
        weights = flat(self.kept.generator) if method == "gformer" else None
        pieces = [(self.label, weights, number, method) for number in range(len(self.validation))]
        found = map_in_order(self.crew, look, pieces)
        return sum(found) / len(found)


def _gradient_of(parameter: torch.nn.Parameter) -> torch.Tensor:
    parameter.grad = torch.empty_like(parameter)
    return parameter.grad


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


@dataclass
class _State:
    """Where a training stands."""

    untrained: float
    """Accuracy of the untrained generator on the validation episodes."""
    step: int = 0
    best_accuracy: float = 0.0
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    recent: _Mean = field(default_factory=_Mean)
    idle: int = 0
    """Validations since the best one."""


def _copy(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
