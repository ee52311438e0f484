"""A generator in training on many runs at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.universal.choose import Batch, figures
from benchmarks.universal.licences import licences_of
from benchmarks.universal.loading import RUN_SECTIONS, Loaded
from gformer_cli.bundle import Card, build_generator, build_model, file_hash, learnt_run, read_generator, save_generator
from gformer_cli.compute.pace import Pace
from gformer_cli.core.generators import Generator
from gformer_cli.errors import WorkError
from gformer_cli.files import append_json_line
from gformer_cli.metrics import mean
from gformer_cli.seeding import derive_seed
from gformer_cli.settings import Settings
from gformer_cli.train.checkpoint import Checkpoint
from gformer_cli.train.episode_sources import EpisodeSource, averaged, episodes_of, runs_of_step
from gformer_cli.train.episodes import flat, put
from gformer_cli.train.schedule import learning_rate_at, set_learning_rate

_SAVE, _TELL = 60.0, 30.0
"""Seconds between two files that are written, and between two lines of figures."""
_MEASURING = 25.0
"""Seconds in which the calibration batches are to be through."""
_GRAIN = 1_000_000
"""Parts of the training, by which the learning rate goes."""


@dataclass
class Recent:
    """What was learnt since the last line of figures."""

    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)


class Training:
    """A generator in training on many runs."""

    def __init__(
        self, loaded: Sequence[Loaded], settings: Settings, out: Path, start: Path | None, device: torch.device
    ) -> None:
        self.loaded = loaded
        self.settings = settings
        self.options = settings.meta_train
        self.out = out
        self.log, self.checkpoint = out.with_suffix(".jsonl"), Checkpoint(out.with_suffix(".pt"))
        self.start = start
        self.generator = self._begin(start).to(device)
        model = build_model(self.settings.generator, self.generator)
        self.average, self.kept = averaged(model, self.options.ema)
        sources = [EpisodeSource(one.run.name, one.models, one.domains, self._of_run(one), True) for one in loaded]
        how: dict[str, Any] = {"label": "generator", "pace": Pace(1, fixed=True)}
        self.works = episodes_of(model, self.kept, sources, self.settings, device, **how)
        self.optimizer = torch.optim.AdamW(
            self.generator.parameters(), lr=self.options.learning_rate, weight_decay=self.options.weight_decay
        )
        self.step = 0
        self.seconds = 0.0
        """Of training, so far."""
        self.left_out: Counter[str] = Counter()
        """Episodes whose loss was not finite, by their run: they taught nothing."""

    def _begin(self, start: Path | None) -> Generator:
        """An untrained generator, or that of the file `start`, whose settings then hold."""
        backbone = self.loaded[0].models.full
        if start is None:
            torch.manual_seed(derive_seed(self.settings.seed, "generator"))
            return build_generator(self.settings.generator, backbone)
        settings, generator = read_generator(start, backbone)
        self.settings = self.settings.model_copy(update={"generator": settings})
        return generator

    def _of_run(self, one: Loaded) -> Settings:
        """The settings of a run's episodes: its own where its models and images depend on them."""
        own = {section: getattr(one.settings, section) for section in RUN_SECTIONS}
        # runs of one task have the same images: by their seeds they differ in their episodes
        own["seed"] = derive_seed(self.settings.seed, "episodes", one.run.name) % 2**31
        return self.settings.model_copy(update=own)

    def go(self, seconds: float | None, *, resume: bool) -> None:
        """Train for so many `seconds`, or for the settings' steps; write the generator every minute, and at the end."""
        if resume:
            self._restore()
        before, saved, recent = self.seconds, time.monotonic(), Recent()
        began = time.monotonic()
        while self._share(seconds) < 1.0:
            self._step(self._share(seconds), recent)
            now = time.monotonic()
            self.seconds = before + now - began
            if now - recent.began >= _TELL:
                recent = self._tell(recent)
            if now - saved >= _SAVE:
                self._save()
                saved = time.monotonic()
        self._tell(recent)
        self._save()

    def _share(self, seconds: float | None) -> float:
        """Of the whole training, what is behind it."""
        return self.step / self.options.steps if seconds is None else self.seconds / seconds

    def _step(self, share: float, recent: Recent) -> None:
        parameters, options = list(self.generator.parameters()), self.options
        gradient = torch.zeros_like(flat(self.generator))
        runs = runs_of_step(self.settings.seed, self.step, len(self.works), options.runs_per_step)
        first = self.step * self.works[0].per_step
        for number, run in enumerate([run for run in runs for _ in range(options.episodes_per_step)], start=first):
            try:
                learned = self.works[run].learned(number)
            except WorkError:  # its loss is not finite
                self.left_out[self.loaded[run].run.name] += 1
                continue
            gradient += learned.gradient
            recent.losses.append(learned.figures["cross_entropy"])
            recent.accuracies.append(learned.figures["accuracy"])
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        put(gradient, [parameter.grad for parameter in parameters if parameter.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(parameters, options.clip)
        rate = learning_rate_at(int(share * _GRAIN), steps=_GRAIN, peak=options.learning_rate, warmup=options.warmup)
        set_learning_rate(self.optimizer, rate)
        self.step += 1
        if not bool(torch.isfinite(norm)):
            self.left_out["(step)"] += 1
            return
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.generator)

    def _tell(self, recent: Recent) -> Recent:
        """Figures since the last line, to the log and to whoever watches."""
        if recent.losses:
            rate = len(recent.losses) / (time.monotonic() - recent.began)
            figures = {
                "step": self.step,
                "seconds": round(self.seconds, 1),
                "loss": round(mean(recent.losses), 4),
                "accuracy": round(mean(recent.accuracies), 4),
                "episodes_per_second": round(rate, 2),
            }
            append_json_line(self.log, figures | {"left_out": dict(self.left_out)})
            print(", ".join(f"{name} {value}" for name, value in figures.items()), flush=True)
        return Recent()

    def _save(self) -> None:
        save_generator(self.out, self.kept.generator, self.settings.generator, self._card())
        self.checkpoint.save(
            {
                "step": self.step,
                "seconds": self.seconds,
                "generator": self.generator.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
            }
        )

    def measure(self, batches: Sequence[Batch]) -> None:
        """Write how good it is on the calibration runs, a line of JSON."""
        found = figures(self.kept, batches, _MEASURING, single=self.options.single_pass > 0.0)
        about = {"name": self.out.stem, "step": self.step, "seconds": round(self.seconds, 1), "runs": len(self.loaded)}
        self.out.with_suffix(".json").write_text(json.dumps(about | found) + "\n")

    def _restore(self) -> None:
        state = self.checkpoint.load()
        if state is None:
            return
        with self.checkpoint.restoring():
            self.generator.load_state_dict(state["generator"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        self.step, self.seconds = state["step"], state["seconds"]

    def _card(self) -> Card:
        runs = tuple(
            learnt_run(
                one.run.task,
                one.settings.backbone,
                one.models.full,
                classes=one.source.classes,
                domains=one.source.domains,
                fingerprint=one.source.fingerprint,
                seed=one.settings.seed,
            )
            for one in self.loaded
        )
        episodes = self.step * self.works[0].per_step
        start = None if self.start is None else file_hash(self.start)
        licences = licences_of([one.run.task for one in self.loaded], [one.run.network for one in self.loaded])
        return Card(runs=runs, steps=self.step, episodes=episodes, start=start, licences=licences)
