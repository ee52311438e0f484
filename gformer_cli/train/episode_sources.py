"""Where episodes come from: runs, each with its models and images, and which of them a step is drawn from."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gformer_cli.compute.pace import Pace
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.core.generators import Generator
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.seeding import derive_seed
from gformer_cli.settings import Settings
from gformer_cli.train.episodes import EpisodeWork
from gformer_cli.train.source_models import SourceModels


@dataclass(frozen=True)
class EpisodeSource:
    """A run that a generator is meta-trained on."""

    name: str
    """Of its figures in the log."""
    models: SourceModels
    domains: Sequence[LabelledDomain]
    settings: Settings
    """The run's own in all that its models and images depend on, those of the meta-training in all else."""
    leave_one_domain_out: bool
    digest: str = ""
    """Tells its images and models from others: a training goes on with the same ones alone."""


def runs_of_step(seed: int, step: int, runs: int, per_step: int | None) -> Sequence[int]:
    """Which of so many `runs` have episodes in a step, each once: all, or `per_step` of them.

    Drawn so that each is met equally often: the runs are shuffled, and steps take the next ones in turn until the
    last one of a step is the last of all; then they are shuffled anew.
    """
    if per_step is None or per_step >= runs:
        return range(runs)
    block = runs // math.gcd(runs, per_step)
    order = list(range(runs))
    random.Random(derive_seed(seed, "runs", step // block)).shuffle(order)
    first = step % block * per_step
    return [order[(first + place) % runs] for place in range(per_step)]


def episodes_of_step(settings: Settings, runs: int) -> int:
    """How many episodes a step takes of so many `runs` together."""
    options = settings.meta_train
    return len(runs_of_step(settings.seed, 0, runs, options.runs_per_step)) * options.episodes_per_step


def averaged(model: GeneralizeFormer, decay: float) -> tuple[AveragedModel | None, GeneralizeFormer]:
    """The moving average of a generator's weights, and what generates with it: without `decay` the model itself."""
    if not decay:
        return None, model
    average = AveragedModel(model.generator, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
    kept = deepcopy(model)
    kept.generator = cast(Generator, average.module)
    return average, kept


def episodes_of(
    model: GeneralizeFormer,
    kept: GeneralizeFormer,
    sources: Sequence[EpisodeSource],
    settings: Settings,
    device: torch.device,
    *,
    label: str,
    pace: Pace,
) -> list[EpisodeWork]:
    """The episodes of every run, for a generator in training and for what is validated of it."""
    return [
        EpisodeWork(
            *(model, kept, source.models, source.domains, source.settings, device),
            label=label,
            leave_one_domain_out=source.leave_one_domain_out,
            per_step=episodes_of_step(settings, len(sources)),
            pace=pace,
        )
        for source in sources
    ]
