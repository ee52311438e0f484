from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.bundle import Bundle
from gformer_cli.compute.crew import Alone
from gformer_cli.core.estimators import ESTIMATORS, RATES
from gformer_cli.progress import Silent
from gformer_cli.train.episodes import EpisodeWork
from gformer_cli.train.temperatures import Answered, answered_on, fit, fit_temperatures

HALVES = (slice(2000), slice(2000, None))


def test_each_side_gets_the_temperature_of_its_own_logits() -> None:
    random = torch.Generator().manual_seed(0)
    honest = 2.0 * torch.randn(6000, 4, generator=random)
    labels = torch.multinomial(honest.softmax(dim=1), 1, generator=random).squeeze(1)
    right = honest.argmax(dim=1) == labels
    halves = [
        Answered(
            2.0 * honest[part],
            3.0 * honest[part],
            labels[part],
            # what is expected is right at the fourth rate for one side, at the sixth for the other
            {
                side: [float((~right[part]).double().mean()) + 0.01 * (rate - wanted) for rate in range(len(RATES))]
                for side, wanted in (("source", 3), ("adapted", 5))
            },
        )
        for part in HALVES
    ]
    found = fit(halves)
    assert found is not None and found.images == 6000
    assert (found.source, found.adapted) == (pytest.approx(2.0, rel=0.05), pytest.approx(3.0, rel=0.05))
    for side in ("source", "adapted"):
        assert found.figures[f"ece_{side}"] > 0.1
        assert found.figures[f"ece_{side}_calibrated"] < 0.03
    assert fit([]) is None
    accuracy = float(right.double().mean())
    for side, logits, place in (("source", 2.0 * honest, 3), ("adapted", 3.0 * honest, 5)):
        fitted = found.estimators[side]
        assert fitted.accuracy == pytest.approx(accuracy, abs=5e-5)
        sure = (logits / getattr(found, side)).double().softmax(dim=1).amax(dim=1)
        assert float((sure >= fitted.confidence).double().mean()) == pytest.approx(accuracy)
        assert fitted.dropout == pytest.approx(RATES[place], abs=2e-3)
        # what the means over all 6000 images are fitted to is true of the halves as well, up to chance
        assert set(fitted.missed) == set(ESTIMATORS) and max(fitted.missed.values()) < 0.03
    without = fit([Answered(one.source, one.adapted, one.labels, {}) for one in halves])
    assert without is not None and without.estimators["source"].dropout is None
    assert "aetta" not in without.estimators["source"].missed
    skewed = fit([Answered(one.source, one.adapted, one.labels, {}, skewed=True) for one in halves])
    assert skewed is not None and skewed.estimators["source"].missed == {}


def test_they_are_fitted_on_held_out_images_under_the_models_that_do_not_know_them(
    make_work: Callable[..., EpisodeWork],
) -> None:
    work = make_work()
    for episode in work.validation:
        assert set(episode.positions) <= set(episode.domain.validation)
    answers = [answered_on(work, number) for number in range(len(work.validation))]
    for episode, answer in zip(work.validation, answers, strict=True):
        unaware = work.models.unaware_of(episode.domain.name) if not episode.at_home else work.models.full
        with torch.no_grad():
            assert answer.source.equal(unaware(episode.inputs(work.device)))
        assert answer.labels.tolist() == episode.labels(work.device).tolist()
    found = fit_temperatures(work, Silent())
    assert found is not None and found.images == sum(len(episode.positions) for episode in work.validation)
    assert found == fit(answers) == fit_temperatures(work, Silent(), Alone({"generator": [work]}))


def test_meta_training_keeps_them_in_the_bundle(bundle: Bundle) -> None:
    found = bundle.header.temperatures
    assert found is not None and found.images > 0
    assert (bundle.temperatures.source, bundle.temperatures.adapted) == (found.source, found.adapted)


def test_what_estimators_go_by_is_in_the_bundle_until_another_temperature_is_said(bundle: Bundle) -> None:
    found = bundle.header.temperatures
    assert found is not None
    source, adapted = bundle.estimators(0.0), bundle.estimators(1.0)
    for fitted, side in ((source, found.estimators["source"]), (adapted, found.estimators["adapted"])):
        assert fitted is not None
        assert vars(fitted) == side.model_dump(exclude={"accuracy"})
        assert side.dropout is not None
    before = bundle.header
    bundle.set_temperature(2.0)
    assert bundle.estimators(1.0) is None
    bundle.header = before.model_copy(update={"temperatures": None})
    assert bundle.estimators(1.0) is None
    bundle.header = before
