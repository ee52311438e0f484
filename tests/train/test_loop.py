"""The loop on a training whose weights are a sum of its steps, so that every figure is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.compute.pace import Pace
from gformer_cli.errors import InputError, Interrupted, WorkError
from gformer_cli.progress import Silent, StopRequest
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.loop import Loop
from gformer_cli.train.run_folder import RunFolder


class Sum:
    """Adds each step's number to its one weight; the accuracies of its validations are given."""

    label, title, task = "sum", "the sum", "summing"

    def __init__(self, accuracies: Sequence[float]) -> None:
        self.accuracies = list(accuracies)
        self.pace = Pace(1)
        self.divergence = Divergence("sum", "pretrain", "pretrain.learning_rate", 0.5)
        self.weight = torch.zeros(1)
        self.steps: list[int] = []

    def step(self, number: int) -> float:
        self.steps.append(number)
        self.weight += number
        return 0.25

    def start(self) -> float:
        return 0.1

    def validate(self) -> float:
        self.accuracy = self.accuracies.pop(0)
        return self.accuracy

    def weights(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight}

    kept_weights = weights

    def state(self) -> dict[str, Any]:
        return {"network": self.weights()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        self.weight.copy_(saved["network"]["weight"])

    def figures(self) -> dict[str, float]:
        return {"validation_accuracy": self.accuracy}

    def note(self, best: float, steps_per_second: float) -> str:
        return f"best {best}" + (" and more" if steps_per_second > 0.0 else "")


class Listener(Silent):
    def __init__(self, stop: StopRequest | None = None, after: int = 0) -> None:
        self.told: list[tuple[object, ...]] = []
        self.stop, self.after = stop, after

    def begin(self, label: str, total: int, done: int = 0) -> None:
        self.told.append((label, total, done))

    def advance(self, note: str = "") -> None:
        self.told.append((note,))
        self.after -= 1
        if self.stop is not None and self.after == 0:
            self.stop.requested = True

    def message(self, text: str) -> None:
        self.told.append((text,))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def loop_of(training: Sum, run: RunFolder, *, steps: int = 5, every: int = 2, patience: int | None = None) -> Loop:
    return Loop(training, run.checkpoint("sum"), run.pretrain_log, steps=steps, validate_every=every, patience=patience)


def log(run: RunFolder) -> list[tuple[str, int, float, int]]:
    lines = [json.loads(line) for line in run.pretrain_log.read_text().splitlines()]
    assert all(line["seconds"] >= 0.0 for line in lines)
    return [(line["model"], line["step"], line["validation_accuracy"], line["threads"]) for line in lines]


@pytest.mark.parametrize(
    ("accuracies", "best", "weight"),
    [
        ([0.2, 0.4, 0.3], 0.4, 0 + 1 + 2 + 3),
        ([0.4, 0.4, 0.4], 0.4, 0 + 1),  # the first of equals
        ([0.0, 0.1, 0.0], 0.1, 0),  # what training began with
    ],
)
def test_the_best_weights_are_kept(run: RunFolder, accuracies: list[float], best: float, weight: float) -> None:
    loop = loop_of(Sum(accuracies), run)
    loop.train(Silent(), StopRequest())
    assert loop.finished and loop.step == 5
    assert loop.best_score == best and loop.best["weight"].item() == weight
    assert log(run) == [("sum", step, found, 1) for step, found in zip((2, 4, 5), accuracies, strict=True)]


def test_what_is_told_on_the_way(run: RunFolder) -> None:
    listener = Listener()
    loop_of(Sum([0.5]), run, steps=2).train(listener, StopRequest())
    note = "loss 0.250, best {} and more"
    assert listener.told == [("summing", 2, 0), (note.format(0.1),), (note.format(0.5),)]


@pytest.mark.parametrize("after", [1, 2, 3, 4, 5])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(run: RunFolder, after: int) -> None:
    accuracies = [0.2, 0.4, 0.3]
    stop = StopRequest()
    first = Sum(accuracies)
    with pytest.raises(Interrupted, match=f"stopped after step {after} of 5 of the sum"):
        loop_of(first, run).train(Listener(stop, after), stop)
    second, listener = Sum(first.accuracies), Listener()
    loop = loop_of(second, run)
    assert loop.step == after
    loop.train(listener, StopRequest())
    assert listener.told[0] == ("summing", 5, after)
    assert first.steps + second.steps == [0, 1, 2, 3, 4] and second.weight.item() == 10
    assert loop.best_score == 0.4 and loop.best["weight"].item() == 6
    assert [line[1:3] for line in log(run)] == [(2, 0.2), (4, 0.4), (5, 0.3)]


def test_to_checkpoint_ends_at_each_validation(run: RunFolder) -> None:
    steps = []
    for accuracy in (0.2, 0.4, 0.3):
        loop = loop_of(Sum([accuracy]), run)
        loop.train(Silent(), StopRequest(), to_checkpoint=True)
        steps.append((loop.step, loop.finished))
    assert steps == [(2, False), (4, False), (5, True)]
    assert loop.best_score == 0.4 and loop.best["weight"].item() == 6


def test_patience_counts_validations_since_the_best_one_also_over_a_stop(run: RunFolder) -> None:
    stop, listener = StopRequest(), Listener()
    training = Sum([0.2, 0.2, 0.3, 0.3, 0.1])
    with pytest.raises(Interrupted):
        loop_of(training, run, steps=9, every=1, patience=2).train(Listener(stop, 4), stop)
    loop = loop_of(Sum(training.accuracies), run, steps=9, every=1, patience=2)
    loop.train(listener, StopRequest())
    assert loop.finished and loop.step == 5 and loop.best_score == 0.3
    assert listener.told[-1] == ("validation has stopped rising: 2 without a better one by step 5",)
    again = Sum([])  # what patience has ended takes no step more
    loop_of(again, run, steps=9, every=1, patience=2).train(Silent(), StopRequest())
    assert again.steps == []


def test_weights_that_are_not_finite_reach_no_file(run: RunFolder) -> None:
    class Broken(Sum):
        def step(self, number: int) -> float:
            self.weight.fill_(float("nan"))
            return 0.25

    stop = StopRequest()
    with pytest.raises(WorkError, match="step 2: weight holds values that are not finite"):
        loop_of(Broken([0.9]), run).train(Silent(), stop)
    with pytest.raises(WorkError, match="step 1: weight holds values that are not finite"):
        loop_of(Broken([0.9]), run).train(Listener(stop, 1), stop)
    assert not list(run.root.iterdir())


def test_a_checkpoint_of_something_else_is_refused(run: RunFolder) -> None:
    saved = {"step": 1, "best_accuracy": 0.0, "best_state": {}}
    for network in ({"network": {"bias": torch.zeros(1)}}, {"network": {"weight": torch.zeros(3)}}, {}):
        run.checkpoint("sum").save(saved | network)
        with pytest.raises(InputError, match=r"cannot use checkpoint .*sum\.pt: it does not fit"):
            loop_of(Sum([]), run)


def test_a_checkpoint_of_an_earlier_version_has_no_count_of_idle_validations(run: RunFolder) -> None:
    weights = {"weight": torch.full((1,), 6.0)}
    run.checkpoint("sum").save({"network": weights, "step": 4, "best_accuracy": 0.4, "best_state": weights})
    training = Sum([0.5])
    loop = loop_of(training, run)
    loop.train(Silent(), StopRequest())
    assert training.steps == [4] and loop.best["weight"].item() == 10 and loop.idle == 0
