"""The training loop: validation, the best weights, checkpoints, the log, stopping. What a step is, a training says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from gformer_cli.compute import ranks
from gformer_cli.compute.pace import Pace
from gformer_cli.errors import Interrupted
from gformer_cli.files import append_json_line
from gformer_cli.progress import Progress, StopRequest
from gformer_cli.train.checkpoint import Checkpoint
from gformer_cli.train.divergence import Divergence


class Training(Protocol):
    """What a loop trains. A step depends on its number and on what `state` holds, on nothing else: so it can go on."""

    label: str
    """Of its lines in the log."""
    title: str
    """What messages call it."""
    task: str
    """What progress calls its training."""
    pace: Pace
    divergence: Divergence

    def step(self, number: int) -> float:
        """One update; returns the loss. Raises `WorkError` where that is not finite."""

    def start(self) -> float:
        """The score that is to be beaten; asked once, before the first step."""

    def validate(self) -> float:
        """The score of `kept_weights` on held-out images: the highest is kept."""

    def weights(self) -> Mapping[str, torch.Tensor]:
        """What steps change."""

    def kept_weights(self) -> Mapping[str, torch.Tensor]:
        """What is validated, and kept where it is the best: `weights`, or an average of them."""

    def state(self) -> dict[str, Any]:
        """All that the next step depends on: tensors and plain values."""

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Take over what `state` has given. Raises `InputError`, or what tensors that do not fit raise."""

    def figures(self) -> dict[str, float]:
        """A line of the log: the steps since the last one, and what the last validation found."""

    def note(self, best: float, steps_per_second: float) -> str:
        """What progress shows behind the loss; `best` is the highest score so far."""


class Loop:
    """Where a training stands, and its way on: from its checkpoint, or from the start."""

    def __init__(
        self,
        training: Training,
        checkpoint: Checkpoint,
        log: Path,
        *,
        steps: int,
        validate_every: int,
        patience: int | None = None,
        together: bool = False,
    ) -> None:
        """`patience` is the number of validations without a better one that end a training. `together` says that the
        processes of torchrun, if there are any, take each step together: then the first of them keeps the files.

        Raises `InputError` where the checkpoint is of something else.
        """
        self.training = training
        self.checkpoint = checkpoint
        self.log = log
        self.steps = steps
        self.validate_every = validate_every
        self.patience = patience
        self.writes = ranks.first() or not together
        self.step = 0
        """Steps that are done."""
        self.idle = 0
        """Validations since the best one."""
        self.seconds = 0.0
        """That the steps took, in whatever processes."""
        saved = ranks.from_first(checkpoint.load) if together else checkpoint.load()
        if saved is None:
            self.best_score = training.start()
            self.best = _copy(training.kept_weights())
            return
        with checkpoint.restoring():
            training.restore(saved)
            self.step, self.best_score, self.best = saved["step"], saved["best_accuracy"], saved["best_state"]
            self.idle = saved.get("idle", 0)  # earlier versions did not count those of source models
            self.seconds = saved.get("seconds", 0.0)

    @property
    def finished(self) -> bool:
        return self.step >= self.steps or self._out_of_patience

    @property
    def _out_of_patience(self) -> bool:
        return self.patience is not None and self.idle >= self.patience

    def train(self, progress: Progress, stop: StopRequest, *, to_checkpoint: bool = False) -> None:
        """Train to the end, or with `to_checkpoint` to the next validation.

        Ends after a step once `stop` asks: raises `Interrupted`, with all that is needed to go on in a checkpoint.
        """
        training, before, began = self.training, self.step, time.monotonic()
        earlier = self.seconds
        progress.begin(training.task, self.steps, before)
        while not self.finished:
            loss = training.step(self.step)
            self.step += 1
            validated = self.step % self.validate_every == 0 or self.step == self.steps
            if validated:
                self._validate(earlier + time.monotonic() - began)
            self.seconds = earlier + time.monotonic() - began
            rate = (self.step - before) / (self.seconds - earlier)
            progress.advance(f"loss {loss:.3f}, {training.note(self.best_score, rate)}")
            stopping = stop.agree()
            if validated or stopping:
                self._save()
            if stopping:
                raise Interrupted(
                    f"stopped after step {self.step} of {self.steps} of {training.title}",
                    "Go on with the same command and --resume.",
                )
            if validated and to_checkpoint:
                break
        if self._out_of_patience:
            progress.message(f"validation has stopped rising: {self.idle} without a better one by step {self.step}")
        progress.end()

    def _validate(self, seconds: float) -> None:
        training = self.training
        training.divergence.check_state(self.step, training.kept_weights())
        score = training.validate()
        self.idle += 1
        if score > self.best_score:
            self.best_score, self.best, self.idle = score, _copy(training.kept_weights()), 0
        place = {"model": training.label, "step": self.step}
        how = {"threads": training.pace.threads, "seconds": round(seconds, 3)}
        line = {**place, **training.figures(), **how}
        if self.writes:
            append_json_line(self.log, line)

    def _save(self) -> None:
        training = self.training
        training.divergence.check_state(self.step, training.weights())
        own = {"step": self.step, "best_accuracy": self.best_score, "best_state": self.best, "idle": self.idle}
        own["seconds"] = self.seconds
        if self.writes:
            self.checkpoint.save({**training.state(), **own})


def _copy(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
