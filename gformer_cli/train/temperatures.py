"""Temperatures of a source model and of what adapts it, fitted on held-out source images under simulated shifts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from gformer_cli.bundle import TemperaturesHeader
from gformer_cli.compute import ranks
from gformer_cli.compute.crew import Crew
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.temperature import fit_temperature
from gformer_cli.data.episodes import Episode
from gformer_cli.guard.prediction import predict_both
from gformer_cli.metrics import Scores
from gformer_cli.progress import Progress
from gformer_cli.train.episodes import EpisodeWork, Works, flat, put, validation_shares
from gformer_cli.train.meta_trainer import GENERATOR

_PIECE = 8
"""Episodes that a worker of a crew looks at in a row."""


@dataclass(frozen=True)
class Answered:
    """What an episode of B images got, on the CPU. K classes."""

    source: torch.Tensor
    """Logits (B, K) of the source model."""
    adapted: torch.Tensor
    """Logits (B, K) under generated parameters."""
    labels: torch.Tensor
    """(B,)"""


def fit(answers: Iterable[Answered]) -> TemperaturesHeader | None:
    """The temperatures at which the right classes are most likely; None without an image."""
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
    for name, logits in sides.items():
        figures[f"ece_{name}"] = _calibration_error(logits, labels)
        figures[f"ece_{name}_calibrated"] = _calibration_error(logits / temperatures[name], labels)
    return TemperaturesHeader(**temperatures, images=len(labels), figures=figures)


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
    both = predict_both(backbone, model, episode.inputs(device))
    return Answered(both.source.cpu(), both.prediction.logits.cpu(), episode.labels(torch.device("cpu")))


@torch.no_grad()
def answered_from(works: Works, weights: torch.Tensor, start: int) -> list[Answered]:
    """What `_PIECE` validation episodes from `start` on get with a generator of these weights, (P,)."""
    work = works[GENERATOR][0]
    put(weights, list(work.model.generator.parameters()))
    return [answered_on(work, number) for number in range(start, min(start + _PIECE, len(work.validation)))]


def _calibration_error(logits: torch.Tensor, labels: torch.Tensor) -> float:
    scores = Scores(logits.shape[1])
    scores.add(logits, labels)
    return round(scores.measures().ece, 4)
