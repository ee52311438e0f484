"""Temperatures of a source model and of what adapts it, fitted on held-out source images under simulated shifts.

With them what guesses of accuracy go by where there are no labels (`core.estimators`), at these temperatures and on the
same images. ATC's authors fit thresholds on source images as they are. There hardly an answer is wrong, and what few
images decide says little; under simulated shifts more are, as at a new site.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from gformer_cli.bundle import EstimatorsHeader, TemperaturesHeader
from gformer_cli.compute import ranks
from gformer_cli.compute.crew import Crew
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.estimators import (
    AETTA,
    Fitted,
    Guesses,
    error_at,
    errors_by_rate,
    fit_rate,
    fit_thresholds,
    missed,
    watched,
)
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.temperature import fit_temperature
from gformer_cli.data.episodes import Episode
from gformer_cli.guard.prediction import predict_both
from gformer_cli.metrics import Scores, probabilities
from gformer_cli.progress import Progress
from gformer_cli.train.episodes import EpisodeWork, Works, flat, put, validation_shares
from gformer_cli.train.meta_trainer import GENERATOR

_PIECE = 8
"""Episodes that a worker of a crew looks at in a row."""
_SEED = 0
"""Of dropout."""


@dataclass(frozen=True)
class Answered:
    """What an episode of B images got, on the CPU. K classes."""

    source: torch.Tensor
    """Logits (B, K) of the source model."""
    adapted: torch.Tensor
    """Logits (B, K) under generated parameters."""
    labels: torch.Tensor
    """(B,)"""
    expected: dict[str, list[float]]
    """By the name of the two: the error that AETTA expects at each of its rates, where a head makes the answer."""
    skewed: bool = False
    """Whether its class shares were drawn."""


def fit(answers: Iterable[Answered]) -> TemperaturesHeader | None:
    """The temperatures at which the right classes are most likely, and what estimators go by; None without an image."""
    found = list(answers)
    if not found:
        return None
    labels = torch.cat([one.labels for one in found])
    sides = {
        "source": torch.cat([one.source for one in found]),
        "adapted": torch.cat([one.adapted for one in found]),
    }
    temperatures = {name: fit_temperature(logits, labels) for name, logits in sides.items()}
    figures: dict[str, float] = {}
    estimators: dict[str, EstimatorsHeader] = {}
    for name, logits in sides.items():
        calibrated = logits / temperatures[name]
        figures[f"ece_{name}"] = _calibration_error(logits, labels)
        figures[f"ece_{name}_calibrated"] = _calibration_error(calibrated, labels)
        estimators[name] = _estimators(logits, labels, found, name, temperatures[name])
    return TemperaturesHeader(**temperatures, images=len(labels), figures=figures, estimators=estimators)


def fit_temperatures(
    work: EpisodeWork, progress: Progress, crew: Crew[Works] | None = None
) -> TemperaturesHeader | None:
    """Those of a trained generator and its source models, on the validation episodes that it was chosen by.

    The workers of a `crew` hold the trainer of the generator, and share the episodes; so do processes of torchrun.
    """
    shares = validation_shares([work])
    progress.begin("calibrating confidences", len(shares[ranks.rank()]))
    found: list[Answered] = []
    if crew is None:
        for number in shares[ranks.rank()]:
            found.append(answered_on(work, number))
            progress.advance()
        found = ranks.together(shares, found)
    else:
        weights, starts = flat(work.model.generator), range(0, len(work.validation), _PIECE)
        for future in [crew.submit(answered_from, weights, start) for start in starts]:
            for one in future.result():
                found.append(one)
                progress.advance()
    progress.end()
    return fit(found)


def answered_on(work: EpisodeWork, number: int) -> Answered:
    """What validation episode `number` gets."""
    episode = work.validation[number]
    with work.pace.step(len(episode.positions)):
        return answered(work.backbone_of(episode), work.model, episode, work.device)


@torch.no_grad()
def answered(backbone: Backbone, model: GeneralizeFormer, episode: Episode, device: torch.device) -> Answered:
    """What an episode gets of `backbone`, and of `model` around it."""
    with watched(backbone.classifier) as head, head.watching():
        both = predict_both(backbone, model, episode.inputs(device))
    sides = {"source": both.source, "adapted": both.prediction.logits}
    behind = {name: head.behind(logits) for name, logits in sides.items()}
    expected = {
        name: errors_by_rate(one, _SEED) for name, one in behind.items() if one is not None and not episode.skewed
    }
    labels = episode.labels(torch.device("cpu"))
    return Answered(both.source.cpu(), both.prediction.logits.cpu(), labels, expected, episode.skewed)


@torch.no_grad()
def answered_from(works: Works, weights: torch.Tensor, start: int) -> list[Answered]:
    """What `_PIECE` validation episodes from `start` on get with a generator of these weights, (P,)."""
    work = works[GENERATOR][0]
    put(weights, list(work.model.generator.parameters()))
    return [answered_on(work, number) for number in range(start, min(start + _PIECE, len(work.validation)))]


def _estimators(
    logits: torch.Tensor, labels: torch.Tensor, answers: Sequence[Answered], side: str, temperature: float
) -> EstimatorsHeader:
    """Fitted on all answers; the rate, and how far estimators are off, on the larger batches whose classes come as they
    are: few images, or few classes, say little of a place."""
    found = probabilities(logits / temperature)
    right = found.argmax(dim=1) == labels
    thresholds = fit_thresholds(found, labels)
    mixed = [one for one in answers if not one.skewed]
    largest = max((len(one.labels) for one in mixed), default=0)
    large = [one for one in mixed if 2 * len(one.labels) >= largest]
    sizes = [len(one.labels) for one in large]
    hits = [int((getattr(one, side).argmax(dim=1) == one.labels).sum()) for one in large]
    rate = None
    if large and all(side in one.expected for one in large):
        rate = fit_rate([one.expected[side] for one in large], sizes, 1.0 - sum(hits) / sum(sizes))
    fitted = Fitted(thresholds["confidence"], thresholds["entropy"], rate)
    guesses = [_guesses(one, side, temperature, fitted) for one in large]
    off = {name: missed([one[name] for one in guesses], sizes, hits) for name in (guesses[0] if guesses else ())}
    accuracy = round(float(right.double().mean()), 4)
    return EstimatorsHeader(**thresholds, dropout=rate, missed=off, accuracy=accuracy)


def _guesses(one: Answered, side: str, temperature: float, fitted: Fitted) -> dict[str, float]:
    """The accuracy of a batch as each estimator guesses it."""
    found = Guesses()
    found.add(probabilities(getattr(one, side) / temperature), fitted, None)
    dropped = {} if fitted.dropout is None else {AETTA: 1.0 - error_at(one.expected[side], fitted.dropout)}
    return found.estimates() | dropped


def _calibration_error(logits: torch.Tensor, labels: torch.Tensor) -> float:
    scores = Scores(logits.shape[1])
    scores.add(logits, labels)
    return round(scores.measures().ece, 4)
