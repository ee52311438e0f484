"""What meta-training a generator is: its steps, its validation. What an episode shows is in `episodes`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml

from gformer_cli.compute import ranks
from gformer_cli.compute.crew import Alone, Crew, map_in_order
from gformer_cli.compute.pace import Pace
from gformer_cli.config import to_yaml, validate
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.data.loader import Reader
from gformer_cli.errors import InputError
from gformer_cli.metrics import mean
from gformer_cli.preset_files import parse_yaml
from gformer_cli.progress import Progress, StopRequest
from gformer_cli.settings import Settings
from gformer_cli.train.checkpoint import Checkpoint
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.episode_reading import read_ahead
from gformer_cli.train.episode_sources import EpisodeSource, averaged, episodes_of, runs_of_step
from gformer_cli.train.episodes import FIGURES, Works, cost_of, flat, learn, look, put, validation_shares
from gformer_cli.train.loop import Loop
from gformer_cli.train.schedule import learning_rate_at, set_learning_rate

GENERATOR, CONSTANT = "generator", "constant"
"""What a run meta-trains: the generator, and for comparison the constant one."""


class Place(Protocol):
    """Where a training keeps its files: a run folder, or beside the file that it writes."""

    @property
    def root(self) -> Path:
        """What messages call it."""

    @property
    def meta_train_log(self) -> Path:
        """Figures while training."""

    def checkpoint(self, label: str) -> Checkpoint:
        """Of the training of `label`."""


@dataclass(frozen=True)
class Found:
    """What a validation found."""

    score: float = 0.0
    """By which a generator is chosen: `accuracy` less `meta_train.validation_harm` times `worst_loss`."""
    accuracy: float = 0.0
    """On the validation episodes, the mean over runs."""
    worst_loss: float = 0.0
    """Of any condition to the source model."""
    of_runs: Sequence[float] = ()
    """The accuracy on each run."""


class MetaTrainer:
    """Trains one generator in place, on episodes of one run or of several."""

    def __init__(
        self,
        model: GeneralizeFormer,
        sources: Sequence[EpisodeSource],
        settings: Settings,
        place: Place,
        device: torch.device,
        *,
        label: str,
        pace: Pace | None = None,
        started: bool = False,
        workers: int = 0,
    ) -> None:
        """`started` says that the generator has been trained before; else it is an untrained one.

        Images that are not in memory are read ahead by so many `workers`.
        """
        self.model = model
        self.sources = sources
        self.settings = settings
        self.options = settings.meta_train
        self.place = place
        self.label = label
        self.started = started
        self.pace = pace or Pace(torch.get_num_threads(), fixed=True)
        self.name = label if label == GENERATOR else f"{label} generator"
        self.title, self.task = f"the {self.name}", f"meta-training {self.name}"
        self.divergence = Divergence(label, "meta-train", "meta_train.learning_rate", self.options.learning_rate)
        self.average, self.kept = averaged(model, self.options.ema)
        self.works = episodes_of(model, self.kept, sources, settings, device, label=label, pace=self.pace)
        """The episodes of each run."""
        self.readers: Sequence[Reader[tuple[int, int]]] = ()
        if not all(domain.in_memory for source in sources for domain in source.domains):
            self.readers = read_ahead(self.works, self._onwards, workers=workers, pinned=device.type == "cuda")
        self.optimizer = torch.optim.AdamW(
            model.generator.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        self.untrained = 0.0
        """The score of the generator as it was before this training."""
        self.references: dict[str, float] = {}
        """That of the source model, and of its batch statistics."""
        self.of_runs: dict[str, list[float]] = {}
        """Per method its last accuracy on each run."""
        self.of_episodes: dict[str, list[list[float]]] = {}
        """Likewise on each of a run's validation episodes, for each run."""
        self.found = Found()
        """By the last validation."""
        self.best = Found(score=-1.0)
        """By that of the best generator so far."""
        self.steps = 0
        """That were taken until training ended."""
        self.recent = _Means()
        """Of the steps since the last validation."""
        self.crew: Crew[Works] = Alone({label: self.works})
        """Whose workers hold the episodes of the same label: this process, unless they are shared."""

    def train(self, progress: Progress, stop: StopRequest | None = None) -> dict[str, float]:
        """Leaves the best generator in place and returns its validation figures.

        Goes on from the last checkpoint, and ends after a step once `stop` asks: see `Loop.train`.
        """
        options = self.options
        # first, so that source models which are broken are told as such
        self.references = {"source": self.accuracy("source"), "bn": self.accuracy("bn")}
        loop = Loop(
            self,
            self.place.checkpoint(self.label),
            self.place.meta_train_log,
            steps=options.steps,
            validate_every=options.validate_every,
            patience=options.patience,
            together=True,
        )
        progress.message("validation episodes: source {source:.1%}, bn {bn:.1%}".format_map(self.references))
        loop.train(progress, stop or StopRequest())
        if loop.best_score == self.untrained:
            progress.warning(self._kept_start())
        for reader in self.readers:
            reader.close()
        self.steps = loop.step
        self.model.generator.load_state_dict(loop.best)
        return {"gformer": self.best.accuracy, **self.references}

    def _kept_start(self) -> str:
        """What to say where no step was an improvement."""
        if self.started:
            return (
                "no training on these images beat the generator it started from on the validation episodes, so that "
                "one is kept"
            )
        return (
            f"no trained {self.name} beat the untrained one on the validation episodes, so that one is kept: "
            "it mixes statistics and changes nothing else. Try more steps, or another learning rate."
        )

    def start(self) -> float:
        # an untrained generator is the source model under mixed statistics: training has to beat it
        self.untrained = self.validate()
        return self.untrained

    def validate(self) -> float:
        accuracy = self.accuracy("gformer")
        worst = self.worst_loss()
        score = accuracy - self.options.validation_harm * worst
        self.found = Found(score, accuracy, worst, self.of_runs["gformer"])
        if score > self.best.score:
            self.best = self.found
        return score

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
            "sources": [source.digest for source in self.sources],
            "best": asdict(self.best),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        if not _same_settings(saved.get("settings"), self.settings):
            raise InputError(
                f"{self.place.root} was meta-trained so far with other settings",
                "Resume with the command it was started with, or start again with --overwrite.",
            )
        now = [source.digest for source in self.sources]
        if saved.get("sources", now) != now:  # earlier versions did not say
            raise InputError(
                f"{self.place.root} was meta-trained so far on other runs, or in another order",
                "Resume with the command it was started with, or start again with --overwrite.",
            )
        self.model.generator.load_state_dict(saved["generator"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.untrained = saved["untrained"]
        self.best = Found(**saved["best"])
        self.recent = _Means(saved["recent_sums"], saved["recent_count"])

    def figures(self) -> dict[str, float]:
        own = {"validation_accuracy": self.found.accuracy, "validation_worst_loss": self.found.worst_loss}
        references = {f"validation_{name}": value for name, value in self.references.items()}
        return {**self.recent.take(), **own, **references, **self._figures_of_runs()}

    def _figures_of_runs(self) -> dict[str, float]:
        """The validation's figures on each run, where there are several."""
        if len(self.sources) == 1:
            return {}
        names = {"gformer": "accuracy"}
        return {
            f"validation_{names.get(method, method)}/{source.name}": value
            for method, values in self.of_runs.items()
            for source, value in zip(self.sources, values, strict=True)
        }

    def figures_of_runs(self) -> dict[str, dict[str, float]]:
        """Per run the accuracies on its validation episodes, of the best generator and of what it is compared with."""
        found = {**self.of_runs, "gformer": self.best.of_runs}
        methods = ("gformer", *self.references)
        return {source.name: {name: found[name][run] for name in methods} for run, source in enumerate(self.sources)}

    def note(self, best: float, steps_per_second: float) -> str:
        rate = steps_per_second * self.works[0].per_step
        beside = "(source {source:.1%}, bn {bn:.1%})".format_map(self.references)
        return f"validation {self.best.accuracy:.1%} {beside}, {rate:.1f} episodes/s"

    def step(self, number: int) -> float:
        """One update from several episodes; returns the mean of their cross-entropies."""
        options, generator = self.options, self.model.generator
        weights = flat(generator)
        pieces = [(self.label, run, weights, episode) for run, episode in self._own_episodes(number)]
        means, gradient = _Means(), torch.zeros_like(weights)
        for learned in map_in_order(self.crew, learn, pieces):  # summed in the order of episodes, whoever was first
            gradient += learned.gradient
            means.add(**learned.figures)
        if ranks.size() > 1:
            gradient, means = _over_ranks(gradient, means)
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

    def _episodes(self, step: int) -> Iterator[tuple[int, int]]:
        """The runs and numbers of a step's episodes. No number comes twice, in whatever run."""
        runs = runs_of_step(self.settings.seed, step, len(self.works), self.options.runs_per_step)
        numbers = itertools.count(step * self.works[0].per_step)
        return ((run, next(numbers)) for run in runs for _ in range(self.options.episodes_per_step))

    def _own_episodes(self, step: int) -> Sequence[tuple[int, int]]:
        """Those that this process shows: all, unless torchrun has started others."""
        episodes = [*self._episodes(step)]
        if ranks.size() == 1:
            return episodes
        costs = [cost_of(self.works[run].sampler.draw(number)) for run, number in episodes]
        return [episodes[place] for place in ranks.fair_shares(costs)[ranks.rank()]]

    def _onwards(self, key: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """This process's episodes from one on, to the last."""
        steps = range(key[1] // self.works[0].per_step, self.options.steps)
        return itertools.dropwhile(key.__ne__, itertools.chain.from_iterable(map(self._own_episodes, steps)))

    def accuracy(self, method: str) -> float:
        """Mean over runs of the mean accuracy over a run's validation episodes, of `gformer`, `source` or `bn`."""
        self.of_episodes[method] = self.answers(method)
        self.of_runs[method] = [mean(values) for values in self.of_episodes[method]]
        return mean(self.of_runs[method])

    def answers(self, method: str) -> list[list[float]]:
        """For each run the accuracy of `method` on each of its validation episodes."""
        weights = flat(self.kept.generator) if method == "gformer" else None
        pieces = [
            (self.label, run, weights, number, method)
            for run, work in enumerate(self.works)
            for number in range(len(work.validation))
        ]
        shares = validation_shares(self.works)
        own = [pieces[number] for number in shares[ranks.rank()]]
        found = iter(ranks.together(shares, map_in_order(self.crew, look, own)))
        return [list(itertools.islice(found, len(work.validation))) for work in self.works]

    def worst_loss(self) -> float:
        """The most that the generator's last validation lost to the source model on any condition of any run: a domain,
        a batch size, and whether the images are shifted or the model knows them. In accuracy; never below 0."""
        losses: dict[tuple[object, ...], list[float]] = {}
        episodes = [(run, episode.condition) for run, work in enumerate(self.works) for episode in work.validation]
        before, after = (itertools.chain(*self.of_episodes[method]) for method in ("source", "gformer"))
        for (run, condition), source, generated in zip(episodes, before, after, strict=True):
            losses.setdefault((run, *condition), []).append(source - generated)
        return max(0.0, *map(mean, losses.values()))


def _same_settings(saved: object, settings: Settings) -> bool:
    """Whether the YAML in a checkpoint means `settings`; an earlier version called some of them otherwise."""
    try:
        return isinstance(saved, str) and validate(parse_yaml(saved)) == settings
    except (InputError, yaml.YAMLError):
        return False


def _gradient_of(parameter: torch.nn.Parameter) -> torch.Tensor:
    parameter.grad = torch.empty_like(parameter)
    return parameter.grad


def _over_ranks(gradient: torch.Tensor, means: _Means) -> tuple[torch.Tensor, _Means]:
    """The sums over all processes of a step's gradient, (P,), and of its figures: in one message."""
    own = [means.sums.get(name, 0.0) for name in FIGURES]
    both = ranks.summed(torch.cat([gradient, gradient.new_tensor([*own, means.count])]))
    *sums, count = both[len(gradient) :].tolist()
    return both[: len(gradient)], _Means(dict(zip(FIGURES, sums, strict=True)), round(count))


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
