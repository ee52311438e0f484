from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from gformer_cli.errors import InputError
from gformer_cli.progress import Silent
from gformer_cli.train.meta_trainer import MetaTrainer
from gformer_cli.train.run_folder import RunFolder

CPU = torch.device("cpu")


def gradients_of_a_step(trainer: MetaTrainer) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []

    class Capture(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            found.extend(parameter.grad.clone() for group in self.param_groups for parameter in group["params"])

    trainer.optimizer = Capture(trainer.model.generator.parameters(), lr=1.0)
    trainer.step(4)
    return found


def answer_with(monkeypatch: pytest.MonkeyPatch, trainer: MetaTrainer, scores: Iterator[float]) -> None:
    """Let validations find these accuracies on every episode."""

    episodes = len(trainer.works[0].validation)
    monkeypatch.setattr(trainer, "answers", lambda _method: [[next(scores)] * episodes])


def test_a_step_averages_its_episodes_and_weighs_the_terms(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer("meta_train.huber_weight=0.7", "meta_train.episodes_per_step=3", "meta_train.clip=1e9")
    losses = [trainer.works[0].loss(trainer.works[0].sampler.draw(number)) for number in (12, 13, 14)]
    total = sum(loss.cross_entropy + 0.7 * loss.huber for loss in losses) / 3
    expected = torch.autograd.grad(total, list(trainer.model.generator.parameters()), allow_unused=True)
    for found, wanted in zip(gradients_of_a_step(trainer), expected, strict=True):
        torch.testing.assert_close(found, torch.zeros_like(found) if wanted is None else wanted, atol=1e-6, rtol=1e-4)


def test_clip_bounds_the_norm_of_a_step(make_trainer: Callable[..., MetaTrainer]) -> None:
    found = gradients_of_a_step(make_trainer("meta_train.clip=0.001"))
    assert math.sqrt(sum(float(gradient.square().sum()) for gradient in found)) == pytest.approx(1e-3, rel=1e-2)


def test_accuracy_is_counted_by_hand(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer()
    shares = []
    for episode in trainer.works[0].validation:
        logits = trainer.works[0].models.unaware_of(episode.domain.name)(episode.inputs(CPU))
        right = sum(int(row.argmax()) == int(label) for row, label in zip(logits, episode.labels(CPU), strict=True))
        shares.append(right / len(logits))
    assert trainer.accuracy("source") == pytest.approx(sum(shares) / len(shares))


def test_what_is_kept_is_the_average_of_the_weights(
    make_trainer: Callable[..., MetaTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ema 0.5: half of the average so far and half of the new weights, after each step."""
    trainer = make_trainer("meta_train.ema=0.5", "meta_train.steps=3", "meta_train.validate_every=3")
    scores = iter([0.1, 0.1, 0.0, 0.9])
    answer_with(monkeypatch, trainer, scores)
    weights: list[dict[str, torch.Tensor]] = []
    step = trainer.step

    def stepped(number: int) -> float:
        loss = step(number)
        weights.append({name: value.clone() for name, value in trainer.model.generator.state_dict().items()})
        return loss

    monkeypatch.setattr(trainer, "step", stepped)
    trainer.train(Silent())
    for name, value in trainer.model.generator.state_dict().items():
        first, second, third = (one[name] for one in weights)
        torch.testing.assert_close(value, 0.25 * first + 0.25 * second + 0.5 * third, msg=name)


def test_patience_stops_after_so_many_validations_without_a_better_one(
    make_trainer: Callable[..., MetaTrainer], run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer("meta_train.patience=2", "meta_train.steps=9", "meta_train.validate_every=1")
    scores = iter([0.1, 0.1, 0.0, 0.5, 0.4, 0.6, 0.6, 0.5, 0.9])  # source, bn, untrained, then each step's
    answer_with(monkeypatch, trainer, scores)
    assert trainer.train(Silent())["gformer"] == 0.6
    assert len(run.meta_train_log.read_text().splitlines()) == 5


@pytest.mark.parametrize(("harm", "kept"), [(0, 0.7), (0.2, 0.6)])
def test_the_worst_loss_of_a_condition_weighs_on_what_is_kept(
    make_trainer: Callable[..., MetaTrainer], run: RunFolder, monkeypatch: pytest.MonkeyPatch, harm: float, kept: float
) -> None:
    """0.7 with one condition 0.8 below the source model's 0.5 has the score 0.54, and 0.6 everywhere 0.6."""
    trainer = make_trainer(f"meta_train.validation_harm={harm}", "meta_train.steps=2", "meta_train.validate_every=1")
    episodes = trainer.works[0].validation
    bad = episodes[0].condition
    count = sum(episode.condition == bad for episode in episodes)
    answers = {"even": [0.6] * len(episodes), "uneven": [-0.3 if e.condition == bad else 0.0 for e in episodes]}
    rest = (0.7 * len(episodes) + 0.3 * count) / (len(episodes) - count)
    answers["uneven"] = [value or rest for value in answers["uneven"]]
    answers["half"] = [0.5] * len(episodes)
    order = iter(["half", "half", "half", "even", "uneven"])  # source, bn, untrained, then each step's
    monkeypatch.setattr(trainer, "answers", lambda _method: [answers[next(order)]])
    assert trainer.train(Silent())["gformer"] == pytest.approx(kept)
    lines = [json.loads(line) for line in run.meta_train_log.read_text().splitlines()]
    assert [line["validation_worst_loss"] for line in lines] == pytest.approx([0.0, 0.8])
    assert [line["validation_accuracy"] for line in lines] == pytest.approx([0.6, 0.7])


class Listener(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: list[str] = []

    def advance(self, note: str = "") -> None:
        self.notes.append(note)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.mark.parametrize(("score", "warned"), [(0.5, True), (0.7, False)])
def test_keeping_the_untrained_generator_is_told(
    make_trainer: Callable[..., MetaTrainer], monkeypatch: pytest.MonkeyPatch, score: float, warned: bool
) -> None:
    trainer, listener = make_trainer("meta_train.steps=1"), Listener()
    scores = iter([0.25, 0.5, 0.6, score])
    answer_with(monkeypatch, trainer, scores)
    trainer.train(listener)
    assert all("beat the untrained one" in text for text in listener.warnings)
    assert bool(listener.warnings) == warned
    assert "(source 25.0%, bn 50.0%)" in listener.notes[-1] and "episodes/s" in listener.notes[-1]


def test_a_checkpoint_with_settings_under_earlier_names_is_restored(make_trainer: Callable[..., MetaTrainer]) -> None:
    trainer = make_trainer()
    saved = trainer.state()
    for before, now in (
        ("  on_constant:", "  constant:"),
        ("  constant: true\n  precision", "  control: true\n  precision"),
    ):
        assert before in saved["settings"]
        saved["settings"] = saved["settings"].replace(before, now)
    trainer.restore(saved)
    with pytest.raises(InputError, match="other settings"):
        trainer.restore({**saved, "settings": saved["settings"].replace("clip: 1.0", "clip: 2.0")})
