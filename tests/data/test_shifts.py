"""Simulated shifts: one draw is one condition, the same for a whole batch."""

from __future__ import annotations

import random
from typing import get_args

import pytest
import torch

from gformer_cli.data.shifts import FAMILIES, HELD_OUT_FAMILIES, TRAINING_FAMILIES, Shift, draw_shift
from gformer_cli.settings import ShiftFamily

NOISE = "noise"
SEEDS = range(12)


def _images(count: int = 3, size: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_training_families_are_those_of_the_settings() -> None:
    assert get_args(ShiftFamily) == TRAINING_FAMILIES


def test_held_out_families_are_never_trained_on() -> None:
    assert set(HELD_OUT_FAMILIES).isdisjoint(TRAINING_FAMILIES)
    assert set(HELD_OUT_FAMILIES) | set(TRAINING_FAMILIES) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_changes_an_image_and_keeps_shape_and_range(family: str) -> None:
    images = _images(size=32)
    for seed in SEEDS:
        shifted = Shift((family,), 1.0, seed)(images)
        assert shifted.shape == images.shape
        assert shifted.dtype == images.dtype
        assert shifted.min() >= 0.0
        assert shifted.max() <= 1.0
        assert (shifted - images).abs().mean() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_pixels(family: str) -> None:
    images = _images()
    assert torch.equal(Shift((family,), 1.0, 5)(images), Shift((family,), 1.0, 5)(images))


@pytest.mark.parametrize("family", FAMILIES)
def test_seeds_give_different_conditions(family: str) -> None:
    images = _images()
    results = [Shift((family,), 1.0, seed)(images) for seed in SEEDS]
    assert any(not torch.equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("name", [(family, number) for family in FAMILIES for number in range(len(FAMILIES[family]))])
def test_strength_makes_a_shift_larger(name: tuple[str, int]) -> None:
    family, number = name
    transform, images = FAMILIES[family][number], _images(size=32)

    def change(strength: float) -> float:
        # the same draws at each strength: only the strength differs
        changes = [
            (transform(images, random.Random(seed), strength).clamp(0.0, 1.0) - images).abs().mean().item()
            for seed in SEEDS
        ]
        return sum(changes) / len(changes)

    assert change(1.5) > change(0.3)


# those that cannot vanish: a shortest motion blur, a sensor's own noise, five bits a channel
FLOORS = {"motion-blur": 0.25, "noise": 0.05, "posterise": 0.01}


@pytest.mark.parametrize("family", FAMILIES)
def test_strength_near_zero_changes_little(family: str) -> None:
    images = _images(size=32)
    for seed in SEEDS:
        change = (Shift((family,), 1e-3, seed)(images) - images).abs().mean()
        assert change < FLOORS.get(family, 5e-3)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {NOISE}))
def test_a_batch_shares_one_condition(family: str) -> None:
    image = _images(1)
    for seed in SEEDS:
        shifted = Shift((family,), 1.0, seed)(image.expand(4, -1, -1, -1))
        torch.testing.assert_close(shifted, shifted[:1].expand_as(shifted))


def test_noise_differs_from_image_to_image() -> None:
    first, second = Shift((NOISE,), 1.0, 0)(_images(1).expand(2, -1, -1, -1))
    assert not torch.equal(first, second)


def test_families_are_applied_in_order() -> None:
    images = _images()
    one, other = (Shift(order, 1.0, 3)(images) for order in (("posterise", "blur"), ("blur", "posterise")))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shift_leaves_its_input_and_global_randomness_alone(family: str) -> None:
    images = _images()
    kept, state = images.clone(), torch.get_rng_state()
    for seed in SEEDS:
        Shift((family,), 1.0, seed)(images)
    assert torch.equal(images, kept)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [1, 4])
def test_tiny_images_work(family: str, size: int) -> None:
    for seed in SEEDS:
        shifted = Shift((family,), 1.0, seed)(_images(1, size))
        assert shifted.shape == (1, 3, size, size)
        assert shifted.isfinite().all()


def test_a_draw_takes_one_to_three_different_families() -> None:
    drawn = [draw_shift(random.Random(seed), TRAINING_FAMILIES, 0.7) for seed in range(200)]
    assert {len(shift.families) for shift in drawn} == {1, 2, 3}
    assert all(len(set(shift.families)) == len(shift.families) for shift in drawn)
    assert {family for shift in drawn for family in shift.families} == set(TRAINING_FAMILIES)
    assert {shift.strength for shift in drawn} == {0.7}
    assert len({shift.seed for shift in drawn}) == 200


def test_a_draw_from_one_family_takes_that_one() -> None:
    assert draw_shift(random.Random(0), ["blur"], 1.0).families == ("blur",)


def test_draws_are_fixed_by_the_generator() -> None:
    assert draw_shift(random.Random(4), TRAINING_FAMILIES, 1.0) == draw_shift(random.Random(4), TRAINING_FAMILIES, 1.0)
