from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gformer_cli.guard.fit import CLEAN, HOSTILE, ONE_CLASS, CalibrationBatch, fit_guard
from gformer_cli.guard.signals import WEIGHED

SIZES = (1, 4, 16)


def make_batch(kind: str, size: int, gain: float | None, seed: int, **moved: float) -> CalibrationBatch:
    """Every signal is normal, around the size's logarithm where it is not `moved`."""
    rng = random.Random(f"{kind} {size} {seed}")
    signals = {name: size**0.5 + moved.get(name, 0.0) + rng.gauss(0.0, 1.0) for name in WEIGHED}
    return CalibrationBatch(kind, size, {"batch_size": float(size), **signals}, gain)


@pytest.fixture
def batches() -> list[CalibrationBatch]:
    """Hostile batches are stretched, batches of one class lack diversity and lose accuracy."""
    found: list[CalibrationBatch] = []
    for size in SIZES:
        for seed in range(60):
            found.append(make_batch(CLEAN, size, 0.1, seed))
            found.append(make_batch(HOSTILE, size, None, seed, statistics_stretched=9.0))
            found.append(make_batch(ONE_CLASS, size, -0.4, seed, diversity=-6.0))
    return found


def flagged(batches: list[CalibrationBatch], kind: str) -> float:
    guard = fit_guard(batches)
    found = [guard.decide(batch.signals).decision != "generated" for batch in batches if batch.kind == kind]
    return sum(found) / len(found)


def test_typical_and_spread_are_those_of_clean_batches_of_the_size(batches: list[CalibrationBatch]) -> None:
    guard = fit_guard(batches)
    assert guard.sizes == SIZES
    for place, size in enumerate(SIZES):
        assert guard.typical["agreement"][place] == pytest.approx(size**0.5, abs=0.4)
        assert guard.spread["agreement"][place] == pytest.approx(1.0, abs=0.3)


def test_hostile_and_harmful_batches_are_flagged_and_clean_ones_are_not(batches: list[CalibrationBatch]) -> None:
    assert flagged(batches, HOSTILE) >= 0.97
    assert flagged(batches, ONE_CLASS) >= 0.9
    assert flagged(batches, CLEAN) <= 0.05


def test_the_reason_is_what_sets_the_batches_apart(batches: list[CalibrationBatch]) -> None:
    guard = fit_guard(batches)
    strange = guard.decide(make_batch(HOSTILE, 4, None, 99, statistics_stretched=12.0).signals)
    harmful = guard.decide(make_batch(ONE_CLASS, 4, None, 99, diversity=-9.0).signals)
    assert strange.reasons[:2] == ("strangeness", "statistics_stretched")
    assert harmful.reasons[:2] == ("expected_loss", "diversity")


def test_the_strangeness_limit_lies_in_the_gap(batches: list[CalibrationBatch]) -> None:
    guard = fit_guard(batches)
    scores = {
        kind: [guard.strangeness.of(guard.readings(batch.signals)) for batch in batches if batch.kind == kind]
        for kind in (CLEAN, HOSTILE)
    }
    assert max(scores[CLEAN]) < guard.strangeness.limit < sorted(scores[HOSTILE])[5] < guard.strangeness.far


def test_hostile_batches_on_both_sides_are_flagged(batches: list[CalibrationBatch]) -> None:
    sides = [
        replace(batch, signals=batch.signals | {"roughness": batch.size**0.5 + (9.0 if number % 2 else -9.0)})
        if batch.kind == HOSTILE
        else batch
        for number, batch in enumerate(make_batch(b.kind, b.size, b.gain, n) for n, b in enumerate(batches))
    ]
    assert flagged(sides, HOSTILE) >= 0.97
    assert flagged(sides, CLEAN) <= 0.05


def test_clean_batches_set_the_limit_where_there_is_no_gap(batches: list[CalibrationBatch]) -> None:
    alike = [
        replace(batch, signals=make_batch(CLEAN, batch.size, None, number + 1000).signals)
        if batch.kind == HOSTILE
        else batch
        for number, batch in enumerate(batches)
    ]
    assert flagged(alike, CLEAN) <= 0.05
    assert flagged(alike, HOSTILE) <= 0.15


def test_expected_loss_is_in_units_of_accuracy(batches: list[CalibrationBatch]) -> None:
    guard = fit_guard(batches)
    mean = {
        kind: sum(guard.decide(b.signals).signals["expected_loss"] for b in batches if b.kind == kind) / 180
        for kind in (CLEAN, ONE_CLASS)
    }
    assert mean[CLEAN] == pytest.approx(-0.1, abs=0.05)
    assert mean[ONE_CLASS] == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(("losing", "smallest"), [((), 1), ((1,), 4), ((1, 4), 16), ((16,), 32), ((4,), 16)])
def test_sizes_that_lose_accuracy_on_clean_batches_are_left_to_the_source_model(
    batches: list[CalibrationBatch], losing: tuple[int, ...], smallest: int
) -> None:
    own = [replace(b, gain=-0.01) if b.kind == CLEAN and b.size in losing else b for b in batches]
    assert fit_guard(own).smallest_batch == smallest


def test_a_generator_that_gains_nothing_gets_a_guard_all_the_same(batches: list[CalibrationBatch]) -> None:
    idle = [replace(batch, gain=None if batch.gain is None else 0.0) for batch in batches]
    assert fit_guard(idle).expected_loss.limit == pytest.approx(0.005)
