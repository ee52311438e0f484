"""Calibrate the guard on held-out source images under shifts, and on hostile batches. No target is read."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch

from gformer_cli.bundle import GuardHeader
from gformer_cli.compute import ranks
from gformer_cli.compute.crew import Crew
from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer
from gformer_cli.data.episodes import Episode
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.shifts import FAMILIES, HELD_OUT_FAMILIES, draw_shift
from gformer_cli.guard import hostile
from gformer_cli.guard.fit import CLEAN, HOSTILE, ONE_CLASS, CalibrationBatch, fit_guard
from gformer_cli.guard.prediction import predict_both
from gformer_cli.guard.rule import BLENDED, GENERATED, SOURCE, Guard
from gformer_cli.metrics import mean
from gformer_cli.progress import Progress
from gformer_cli.seeding import derive_seed
from gformer_cli.settings import Settings
from gformer_cli.train.divergence import Divergence
from gformer_cli.train.episodes import EpisodeWork, Works, flat, put
from gformer_cli.train.meta_trainer import GENERATOR
from gformer_cli.train.source_models import SourceModels, source_divergence

_PIECE = 16
"""Batches that a worker of a crew looks at in a row."""
_STEP = 4
"""Calibrated batch sizes rise by this factor; between them the guard interpolates."""


@dataclass(frozen=True)
class _Batch:
    """A batch to calibrate on: an episode of labelled images, or hostile pixels."""

    kind: str
    size: int
    fold: int
    """Batches of a fold are measured with a guard that was fitted without them."""
    backbone: Backbone
    place: str = ""
    """Domain, and whether the model knows it: harm is reported by place."""
    episode: Episode | None = None
    hostile: str = ""
    seed: int = 0


@dataclass(frozen=True)
class _Measured:
    batch: _Batch
    calibration: CalibrationBatch
    source: float
    """Accuracy of the source model; 0 without labels."""


class GuardCalibration:
    """Batches of calibration and what a guard does with them."""

    def __init__(
        self,
        model: GeneralizeFormer,
        models: SourceModels,
        domains: Sequence[LabelledDomain],
        settings: Settings,
        device: torch.device,
    ) -> None:
        self.model = model
        self.models = models
        self.domains = [domain for domain in domains if domain.validation]
        self.settings = settings
        self.device = device
        self.folds = max(2, len(self.domains))
        rate = settings.meta_train.learning_rate
        self.divergence = Divergence(GENERATOR, "meta-train", "meta_train.learning_rate", rate)

    @torch.no_grad()
    def run(self, progress: Progress, crew: Crew[Works] | None = None) -> GuardHeader:
        """The guard fitted on all batches, with figures of guards that had not seen the batches they are taken on.

        The workers of a `crew` hold the trainer of the generator, and share the batches; so do processes of torchrun.
        """
        shares = ranks.fair_shares([batch.size for batch in self.batches])
        progress.begin("calibrating the guard", len(shares[ranks.rank()]))
        measured: list[_Measured] = []
        if crew is None:
            found = []
            for number in shares[ranks.rank()]:
                one = self._measure(self.batches[number])
                found.append((one.calibration, one.source))
                progress.advance()
            everything = ranks.together(shares, found)
            measured = [_Measured(batch, *one) for batch, one in zip(self.batches, everything, strict=True)]
        else:
            weights, starts = flat(self.model.generator), range(0, len(self.batches), _PIECE)
            for future in [crew.submit(measure, weights, start) for start in starts]:
                for calibration, source in future.result():
                    measured.append(_Measured(self.batches[len(measured)], calibration, source))
                    progress.advance()
        progress.end()
        guard = fit_guard([item.calibration for item in measured])
        return GuardHeader(rule=guard, figures=self._figures(measured))

    @cached_property
    def batches(self) -> list[_Batch]:
        """All that the guard is calibrated on."""
        return [*self._labelled(), *self._hostile()]

    def sizes(self) -> list[int]:
        """1, 4, 16, ... and the largest batch size that every domain's validation images fill."""
        most = min(self.settings.meta_train.largest_batch, *(len(domain.validation) for domain in self.domains))
        return sorted({*(_STEP**power for power in range(most.bit_length()) if _STEP**power < most), most})

    def _labelled(self) -> Iterator[_Batch]:
        """Per domain and size: clean batches that the model does not know, some that it does, and one-class batches.

        A quarter is unshifted, a quarter under held-out shifts, a half under any: the guard's world should be wide.
        """
        strength, sizes = self.settings.shifts.strength, self.sizes()
        for index, domain in enumerate(self.domains):
            away = self.models.unaware_of(domain.name)
            for size in sizes:
                more = min(_STEP, sizes[-1] // size)  # a small batch says little, and costs little
                for number in range(more * self.settings.meta_train.guard_batches):
                    rng = random.Random(derive_seed(self.settings.seed, "guard", domain.name, size, number))
                    fold = index if len(self.domains) > 1 else number % 2
                    plain = number % _STEP == 0
                    families = tuple(FAMILIES) if number % 2 else HELD_OUT_FAMILIES
                    shift = None if plain else draw_shift(rng, families, strength)
                    chosen = tuple(rng.sample(domain.validation, size))
                    episode = Episode(domain, chosen, shift)
                    yield _Batch(CLEAN, size, fold, away, f"{domain.name}, unknown to the model", episode)
                    if plain:
                        place = f"{domain.name}, known to the model"
                        yield _Batch(CLEAN, size, fold, self.models.full, place, episode)
                    pool = _one_class(domain, rng)
                    if number % 2 == 0 and size > 1:
                        alike = Episode(domain, tuple(rng.sample(pool, min(size, len(pool)))), shift)
                        yield _Batch(ONE_CLASS, size, fold, away, "one class", alike)

    def _hostile(self) -> Iterator[_Batch]:
        models = [self.models.full, *(self.models.unaware_of(domain.name) for domain in self.domains)]
        for index, kind in enumerate(hostile.HOSTILE):
            for size in self.sizes():
                for number in range(-(-self.settings.meta_train.guard_batches // _STEP)):
                    seed = derive_seed(self.settings.seed, "hostile", kind, size, number)
                    model = models[(index + number) % len(models)]
                    yield _Batch(HOSTILE, size, index % self.folds, model, hostile=kind, seed=seed)

    def _inputs(self, batch: _Batch) -> torch.Tensor:
        if batch.episode is not None:
            return batch.episode.inputs(self.device)
        preprocessing = self.domains[0].preprocessing
        pixels = hostile.hostile_batch(batch.hostile, batch.size, preprocessing.image_size, batch.seed)
        return preprocessing.network_input(pixels, self.device)

    def _measure(self, batch: _Batch) -> _Measured:
        both = predict_both(batch.backbone, self.model, self._inputs(batch))
        if batch.episode is None:  # no answer to hostile pixels is wrong
            return _Measured(batch, CalibrationBatch(batch.kind, batch.size, both.signals, None), 0.0)
        source_divergence(self.settings).check_logits(both.source)
        self.divergence.check_logits(both.prediction.logits)
        labels = batch.episode.labels(self.device)
        before, after = _accuracy(both.source, labels), _accuracy(both.prediction.logits, labels)
        return _Measured(batch, CalibrationBatch(batch.kind, batch.size, both.signals, after - before), before)

    def _figures(self, measured: Sequence[_Measured]) -> dict[str, float]:
        """Shares of batches flagged; and over images, gain and worst harm on clean ones without and with the guard."""
        guards = [
            fit_guard([item.calibration for item in measured if item.batch.fold != fold]) for fold in range(self.folds)
        ]
        flagged: dict[str, list[float]] = {}
        plain: dict[str, list[tuple[float, int]]] = {}
        guarded: dict[str, list[tuple[float, int]]] = {}
        for item in measured:
            rule = guards[item.batch.fold]
            decision = rule.decide(item.calibration.signals).decision
            flagged.setdefault(item.batch.kind, []).append(float(decision != GENERATED))
            if item.calibration.gain is not None:
                plain.setdefault(item.batch.place, []).append((item.calibration.gain, item.batch.size))
                guarded.setdefault(item.batch.place, []).append((self._gain(item, rule), item.batch.size))
        places = [place for place in plain if place != "one class"]
        figures = {f"flagged_{kind}": mean(values) for kind, values in flagged.items()}
        for suffix, gains in (("", plain), ("_guarded", guarded)):
            by_place = [_over_images(gains[place]) for place in places]
            figures[f"gain{suffix}"] = mean(by_place)
            figures[f"harm{suffix}"] = max(0.0, -min(by_place))
            figures[f"one_class_gain{suffix}"] = _over_images(gains.get("one class", [(0.0, 1)]))
        return figures

    def _gain(self, item: _Measured, rule: Guard) -> float:
        """Accuracy gained over the source model on a labelled batch under `rule`."""
        verdict = rule.decide(item.calibration.signals)
        assert item.calibration.gain is not None and item.batch.episode is not None
        if verdict.decision != BLENDED:
            return 0.0 if verdict.decision == SOURCE else item.calibration.gain
        logits, _ = predict_both(item.batch.backbone, self.model, self._inputs(item.batch)).under(verdict)
        return _accuracy(logits, item.batch.episode.labels(self.device)) - item.source


def calibration_of(work: EpisodeWork) -> GuardCalibration:
    """That of a trained generator, on the images of its episodes."""
    own = work.model, work.models, work.sampler.domains, work.settings, work.device
    return GuardCalibration(*own)


_calibration = lru_cache(maxsize=1)(calibration_of)
"""That of this process, a worker of a crew."""


@torch.no_grad()
def measure(works: Works, weights: torch.Tensor, start: int) -> list[tuple[CalibrationBatch, float]]:
    """What `_PIECE` batches from `start` on show with a generator of these weights, (P,), and the source's accuracy."""
    calibration = _calibration(works[GENERATOR][0])
    put(weights, list(calibration.model.generator.parameters()))
    measured = [calibration._measure(batch) for batch in calibration.batches[start : start + _PIECE]]
    return [(one.calibration, one.source) for one in measured]


def _over_images(gains: Sequence[tuple[float, int]]) -> float:
    """The mean of batches' gains by their sizes: one image that is wrong weighs alike in a batch of one and in many."""
    return sum(gain * size for gain, size in gains) / sum(size for _, size in gains)


def _one_class(domain: LabelledDomain, rng: random.Random) -> list[int]:
    """The validation images of one class, drawn."""
    label = int(domain.labels[rng.choice(domain.validation)])
    return [position for position in domain.validation if int(domain.labels[position]) == label]


def _accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(dim=1) == labels).float().mean())
