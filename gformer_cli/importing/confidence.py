"""Temperatures of an imported model, whose source images are no validation split but what its owner has at hand."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch

from gformer_cli.bundle import TemperaturesHeader, build_model
from gformer_cli.compute.pace import Pace
from gformer_cli.core.backbone import Backbone
from gformer_cli.data.episodes import validation_episodes
from gformer_cli.data.labelled import load_labelled
from gformer_cli.folders.domains import Domain
from gformer_cli.images.preprocessing import Preprocessing
from gformer_cli.importing.generators import Chosen
from gformer_cli.progress import Progress
from gformer_cli.seeding import derive_seed
from gformer_cli.train.temperatures import answered, fit

IMAGES = 256
"""Of a domain, at most: a temperature is one number, and these are decoded and kept."""
BATCHES = (8, 64)
"""Images of an episode, as meta-training validates a generator."""


def fit_on(
    domains: Sequence[Domain],
    backbone: Backbone,
    chosen: Chosen,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    device: torch.device,
    workers: int,
    pace: Pace,
    progress: Progress,
) -> TemperaturesHeader | None:
    """The temperatures on labelled `domains`, shifted as in meta-training; None where no image is left."""
    settings = chosen.settings
    drawn = [domain for domain in (_drawn(domain, settings.seed) for domain in domains) if domain.files]
    if not drawn:
        return None
    loaded, _ = load_labelled(drawn, classes, preprocessing, validation_fraction=0.0, seed=0, workers=workers)
    for domain in loaded:
        domain.train, domain.validation = [], list(range(len(domain.files)))
    episodes = validation_episodes(
        loaded,
        seed=settings.seed,
        batch_sizes=BATCHES,
        batches=settings.meta_train.validation_batches,
        skewed=settings.meta_train.validation_skewed,
        unshifted=False,
        strength=settings.shifts.strength,
        at_home=settings.meta_train.at_home > 0.0,
    )
    model = build_model(settings.generator, chosen.generator).to(device).eval()
    progress.begin("calibrating confidences", len(episodes))
    found = []
    for episode in episodes:
        with pace.step(len(episode.positions)):
            found.append(answered(backbone, model, episode, device))
        progress.advance()
    progress.end()
    return fit(found)


def _drawn(domain: Domain, seed: int) -> Domain:
    """At most `IMAGES` of a domain, which need not be of all its classes."""
    chosen = domain.files
    if len(chosen) > IMAGES:
        rng = random.Random(derive_seed(seed, "temperature", domain.name))
        chosen = chosen.at(rng.sample(range(len(chosen)), IMAGES))
    return replace(domain, files=chosen, classes=())
