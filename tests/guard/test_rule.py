from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gformer_cli.core.backbone import Backbone
from gformer_cli.core.generalizeformer import GeneralizeFormer, Prediction
from gformer_cli.core.generators import ChannelGenerator
from gformer_cli.core.probe import statistic_shifts
from gformer_cli.errors import InputError
from gformer_cli.guard.rule import FURTHEST, Guard, Score
from gformer_cli.guard.signals import SIGNALS, WEIGHED, batch_signals

Images = Callable[..., torch.Tensor]


def score(name: str, limit: float, far: float, **others: float) -> Score:
    return Score({name: 1.0, **others}, 0.0, limit, far)


@pytest.fixture
def guard() -> Guard:
    """Every signal is typically 0 in batches of 4 and 1 in batches of 16, both by 0.5; entropy and residual count."""
    return Guard(
        sizes=(4, 16),
        typical=dict.fromkeys(WEIGHED, (0.0, 1.0)),
        spread=dict.fromkeys(WEIGHED, (0.5, 0.5)),
        strangeness=score("entropy_change", 2.0, 4.0),
        expected_loss=score("residual_classifier", 3.0, 3.0),
        smallest_batch=1.0,
    )


def signals(size: float = 4.0, **others: float) -> dict[str, float]:
    return {"batch_size": size, **dict.fromkeys(WEIGHED, 0.0), **others}


@pytest.fixture
def prediction(backbone: Backbone, images: torch.Tensor, perturb: Callable[..., None]) -> Prediction:
    generator = ChannelGenerator(width=8, depth=1, heads=2, channel_width=4).double()
    perturb(generator, 0.3)
    with torch.no_grad():
        made: Prediction = GeneralizeFormer(generator, prior_count=4.0)(backbone, images)
    return made


def roughness(grey: torch.Tensor) -> float:
    rows, columns = grey.shape
    slope = sum(abs(float(grey[y + 1, x] - grey[y, x])) for y in range(rows - 1) for x in range(columns))
    slope += sum(abs(float(grey[y, x + 1] - grey[y, x])) for y in range(rows) for x in range(columns - 1))
    contrast = float(((grey - grey.mean()) ** 2).mean().sqrt())
    return math.log((slope / (rows * columns) + 0.01) / (contrast + 0.01))


def test_signals_are_what_their_names_say(backbone: Backbone, images: torch.Tensor, prediction: Prediction) -> None:
    source = backbone(images)
    found = batch_signals(images, source, prediction)
    theta, own, probabilities = prediction.parameters, prediction.probe.source, prediction.logits.softmax(1)
    before = source.softmax(1)
    residuals = []
    for g_t, g_s, b_t, b_s in zip(theta.gammas, own.gammas, theta.betas, own.betas, strict=True):
        moved = torch.cat([g_t - g_s, b_t - b_s]).square().mean().sqrt()
        residuals.append(float(moved / g_s.square().mean().sqrt()))
    moved, stretched = statistic_shifts(prediction.probe)
    entropy = float(-(probabilities * probabilities.log()).sum(1).mean())
    marginal = probabilities.mean(0)
    assert theta.mix is not None
    expected = {
        "batch_size": 6.0,
        "roughness": sum(roughness(image) for image in images.mean(1)) / 6,
        "residual": max(residuals),
        "residual_classifier": float((theta.weight - own.weight).square().mean().sqrt())
        / float(own.weight.square().mean().sqrt()),
        "mixing": float(theta.mix.mean()),
        "statistics_moved": sum(float(part.abs().mean()) for part in moved) / 2,
        "statistics_stretched": math.log(sum(float(part.abs().mean()) for part in stretched) / 2),
        "features_stretched": float(stretched[-1].mean()),
        "entropy": entropy,
        "entropy_change": entropy + float((before * before.log()).sum(1).mean()),
        "diversity": float(-(marginal * marginal.log()).sum()),
        "source_diversity": float(-(before.mean(0) * before.mean(0).log()).sum()),
        "marginals_changed": float((marginal - before.mean(0)).abs().sum() / 2),
        "agreement": float((probabilities.argmax(1) == before.argmax(1)).double().mean()),
        "confidence": float(probabilities.amax(1).mean()),
    }
    assert list(found) == list(expected) == list(SIGNALS)
    assert found == pytest.approx(expected)


def test_a_generator_that_changes_nothing_shows_no_residual(backbone: Backbone, images: torch.Tensor) -> None:
    made = GeneralizeFormer(ChannelGenerator(width=8, depth=1, heads=2).double(), prior_count=4.0)(backbone, images)
    found = batch_signals(images, backbone(images), made)
    assert found["residual"] == 0.0 and found["residual_classifier"] < 1e-5  # rms is never zero


@pytest.mark.parametrize("change", [lambda x: -x, lambda x: 0.5 * x + 2.0], ids=["inverted", "pale"])
def test_roughness_is_of_the_content(
    backbone: Backbone, images: torch.Tensor, prediction: Prediction, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    source = backbone(images)
    before, after = (batch_signals(x, source, prediction)["roughness"] for x in (images, change(images)))
    assert after == pytest.approx(before, abs=0.05)
    smooth = torch.linspace(0.0, 1.0, images.shape[-1], dtype=images.dtype).expand_as(images)
    assert batch_signals(smooth, source, prediction)["roughness"] < before - 0.5


@pytest.mark.parametrize("count", [1, 2])
def test_signals_of_the_smallest_batches_are_finite(
    backbone: Backbone, make_images: Images, perturb: Callable[..., None], count: int
) -> None:
    images = make_images(count)
    generator = ChannelGenerator(width=8, depth=1, heads=2).double()
    perturb(generator, 0.3)
    found = batch_signals(images, backbone(images), GeneralizeFormer(generator, prior_count=4.0)(backbone, images))
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize(
    ("size", "expected"),
    [(4, 2.0), (16, 0.0), (8, 1.0), (1, 2.0), (400, 0.0)],
    ids=["first", "last", "half-way in log size", "below", "above"],
)
def test_readings_are_spreads_from_what_is_typical_of_the_size(guard: Guard, size: int, expected: float) -> None:
    assert guard.readings(signals(size, agreement=1.0))["agreement"] == pytest.approx(expected)


def test_a_reading_counts_no_further_than_a_bound(guard: Guard) -> None:
    found = guard.readings(signals(agreement=1e9, diversity=-1e9))
    assert (found["agreement"], found["diversity"]) == (FURTHEST, -FURTHEST)


@pytest.mark.parametrize(
    ("change", "decision", "share"),
    [
        (1.0, "generated", 1.0),
        (1.25, "blended", 0.75),
        (1.75, "blended", 0.25),
        (2.0, "source", 0.0),
        (9.0, "source", 0),
    ],
)
def test_the_share_falls_evenly_from_the_limit_on(guard: Guard, change: float, decision: str, share: float) -> None:
    found = guard.decide(signals(entropy_change=change))
    assert (found.decision, found.share) == (decision, pytest.approx(share))
    assert found.reasons == (() if decision == "generated" else ("strangeness", "entropy_change"))
    assert found.signals["strangeness"] == pytest.approx(min(2.0 * change, FURTHEST))
    assert found.signals["entropy_change"] == change and found.signals["expected_loss"] == 0.0


def test_the_worse_score_decides_and_both_are_named(guard: Guard) -> None:
    found = guard.decide(signals(entropy_change=1.25, residual_classifier=1.6))
    assert (found.decision, found.share) == ("source", 0.0)
    assert found.reasons == ("strangeness", "entropy_change", "expected_loss", "residual_classifier")


def test_a_reason_names_the_two_signals_that_raise_a_score_most(guard: Guard) -> None:
    weights = {"agreement": -1.0, "diversity": 2.0, "entropy_change": 1.0, "features_stretched": 0.1}
    found = replace(guard, strangeness=Score(weights, 5.0, 0.0, 1.0)).decide(
        signals(agreement=1.0, diversity=0.5, entropy_change=0.5, features_stretched=0.5)
    )
    assert found.reasons == ("strangeness", "diversity", "entropy_change")


def test_a_batch_below_the_smallest_is_the_source_models(guard: Guard) -> None:
    strict = replace(guard, smallest_batch=4.0)
    assert strict.decide(signals(4)).decision == "generated"
    found = strict.decide(signals(3))
    assert (found.decision, found.reasons) == ("source", ("batch_size",))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_signal_that_is_no_number_leaves_the_batch_to_the_source_model(guard: Guard, value: float) -> None:
    found = guard.decide(signals(confidence=value))
    assert (found.decision, found.share, found.reasons) == ("source", 0.0, ("confidence",))


def test_limits_are_replaced_by_name(guard: Guard) -> None:
    wanted = {
        "strangeness": 1.0,
        "strangeness-far": 8.0,
        "expected-loss": 0.5,
        "expected-loss-far": 0.75,
        "smallest-batch": 3.0,
    }
    assert set(guard.limits) == set(wanted)
    changed = guard.with_limits(wanted)
    assert changed.limits == wanted
    assert changed.decide(signals(entropy_change=0.6)).decision == "blended"
    assert guard.with_limits({}) == guard


def test_a_limit_above_its_far_end_takes_that_along(guard: Guard) -> None:
    found = guard.with_limits({"strangeness": 5.0}).limits
    assert (found["strangeness"], found["strangeness-far"]) == (5.0, 5.0)
    assert guard.with_limits({"strangeness": 3.0}).limits["strangeness-far"] == 4.0


def test_limits_that_cannot_be(guard: Guard) -> None:
    with pytest.raises(InputError, match="unknown guard limit: 'strangenes'\nDid you mean 'strangeness'"):
        guard.with_limits({"strangenes": 1.0})
    with pytest.raises(InputError, match="strangeness-far is 1, below strangeness, 2"):
        guard.with_limits({"strangeness-far": 1.0})


@pytest.mark.parametrize(
    "damage",
    [
        {"sizes": ()},
        {"typical": {}},
        {"typical": dict.fromkeys(WEIGHED, (0.0,))},
        {"spread": dict.fromkeys(WEIGHED, (0.5, 0.0))},
        {"strangeness": Score({"colour": 1.0}, 0.0, 1.0, 2.0)},
        {"typical": {"colour": (0.0, 1.0)}, "spread": {"colour": (0.5, 0.5)}},
    ],
)
def test_a_guard_that_does_not_fit_together_is_refused(guard: Guard, damage: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needed|one value a size|above 0|without a range|unknown signals: colour"):
        replace(guard, **damage)


def test_a_guard_weighs_the_signals_that_it_was_fitted_on(guard: Guard) -> None:
    few = ("diversity", "agreement")
    older = replace(
        guard,
        typical={name: guard.typical[name] for name in few},
        spread={name: guard.spread[name] for name in few},
        strangeness=Score(dict.fromkeys(few, 1.0), 0.0, 1.0, 2.0),
        expected_loss=Score({}, 0.0, 1.0, 2.0),
    )
    assert list(older.readings(signals())) == list(few)
    assert older.decide(signals(diversity=5.0)).decision == "source"


def test_squares_raise_a_score_on_either_side() -> None:
    two_sided = Score({"agreement": 0.5}, 1.0, 2.0, 3.0, {"agreement": FURTHEST})
    assert [two_sided.of({"agreement": value}) for value in (-2.0, 0.0, 2.0)] == pytest.approx([4.0, 1.0, 6.0])
    assert two_sided.movers({"agreement": -2.0}) == ["agreement"]
    with pytest.raises(ValueError, match="a square needs a weight"):
        Score({}, 0.0, 1.0, 2.0, {"agreement": 1.0})


def test_a_score_must_end_after_it_begins() -> None:
    with pytest.raises(ValueError, match="far 1 is below limit 2"):
        Score({}, 0.0, 2.0, 1.0)
