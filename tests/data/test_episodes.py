"""Episodes: fixed by seed and number; every option has its effect."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from gformer_cli.data.episodes import Episode, EpisodeSampler, validation_episodes
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.data.shifts import HELD_OUT_FAMILIES, TRAINING_FAMILIES, Shift

COUNTS = {"ant": 12, "cat": 12, "dog": 12}
DRAWS = range(300)
CPU = torch.device("cpu")


@pytest.fixture
def domains(make_labelled: Any) -> list[LabelledDomain]:
    found: list[LabelledDomain] = make_labelled({"east": COUNTS, "west": COUNTS})
    return found


def _sampler(domains: list[LabelledDomain], **options: Any) -> EpisodeSampler:
    defaults: dict[str, Any] = {
        "seed": 0,
        "largest_batch": 16,
        "skewed": 0.0,
        "shift_probability": 0.0,
        "shift_strength": 1.0,
        "families": TRAINING_FAMILIES,
    }
    return EpisodeSampler(domains, **(defaults | options))


def _key(episode: Episode) -> tuple[str, tuple[int, ...], Shift | None]:
    return episode.domain.name, episode.positions, episode.shift


def _classes(episode: Episode) -> set[int]:
    return set(episode.labels(CPU).tolist())


def test_a_number_gives_the_same_episode_whatever_was_drawn_before(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, skewed=0.5, shift_probability=0.5)
    forwards = [_key(sampler.draw(number)) for number in range(20)]
    backwards = [_key(sampler.draw(number)) for number in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 20


def test_a_seed_gives_other_episodes(domains: list[LabelledDomain]) -> None:
    one, other = ([_key(_sampler(domains, seed=seed).draw(n)) for n in range(10)] for seed in (0, 1))
    assert one != other


def test_every_domain_is_drawn(domains: list[LabelledDomain]) -> None:
    drawn = Counter(_sampler(domains).draw(number).domain.name for number in DRAWS)
    assert set(drawn) == {"east", "west"}
    assert min(drawn.values()) > 100


def test_sizes_range_from_1_to_the_largest(domains: list[LabelledDomain]) -> None:
    sizes = Counter(len(_sampler(domains).draw(number).positions) for number in range(1000))
    assert min(sizes) == 1
    assert max(sizes) == 16


def test_small_batches_are_as_frequent_as_large_ones(domains: list[LabelledDomain]) -> None:
    sizes = [len(_sampler(domains).draw(number).positions) for number in DRAWS]
    # log-uniform: half of the batches lie below the square root of the largest
    assert 0.4 < sum(size < 4 for size in sizes) / len(sizes) < 0.6


def test_a_largest_batch_of_one_gives_single_images(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, largest_batch=1)
    assert {len(sampler.draw(number).positions) for number in range(50)} == {1}


def test_a_batch_is_no_larger_than_the_domain(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, largest_batch=1000)
    assert max(len(sampler.draw(number).positions) for number in DRAWS) == len(domains[0].train)


def test_an_image_is_at_most_once_in_a_batch(domains: list[LabelledDomain]) -> None:
    for number in DRAWS:
        positions = _sampler(domains).draw(number).positions
        assert len(set(positions)) == len(positions)


def test_skewed_batches_hold_from_one_class_to_all(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, skewed=1.0, largest_batch=16)
    large = [e for e in map(sampler.draw, range(1000)) if len(e.positions) > 8]
    counts = Counter(len(_classes(episode)) for episode in large)
    assert set(counts) == {1, 2, 3}
    assert min(counts.values()) > len(large) / 10
    assert all(episode.skewed for episode in large)
    # whichever class it is
    alone = {next(iter(_classes(e))) for e in large if len(_classes(e)) == 1}
    assert alone == {0, 1, 2}


def test_an_image_is_at_most_once_in_a_skewed_batch_even_where_its_class_runs_out(
    domains: list[LabelledDomain],
) -> None:
    sampler = _sampler(domains, skewed=1.0, largest_batch=1000)
    for number in DRAWS:
        positions = sampler.draw(number).positions
        assert len(set(positions)) == len(positions) >= 1


def test_without_skew_large_batches_hold_all(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, largest_batch=1000)
    large = [e for e in map(sampler.draw, DRAWS) if len(e.positions) > 18]
    assert large
    assert {len(_classes(episode)) for episode in large} == {3}
    assert not any(episode.skewed for episode in large)


def test_skew_in_a_domain_with_one_class_is_that_class(make_labelled: Any) -> None:
    sampler = _sampler(make_labelled({"site": {"cat": 8}}), skewed=1.0)
    assert {len(_classes(sampler.draw(number))) for number in range(20)} == {1}


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 110, 190), (1.0, 300, 300)])
@pytest.mark.parametrize("kind", ["skewed", "at_home", "context", "single_pass"])
def test_each_share_is_of_all_episodes(
    domains: list[LabelledDomain], kind: str, share: float, low: int, high: int
) -> None:
    sampler, shown = _sampler(domains, **{kind: share}), "earlier" if kind == "context" else kind
    assert low <= sum(bool(getattr(sampler.draw(number), shown)) for number in DRAWS) <= high


def test_at_home_nothing_is_shifted(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, at_home=0.5, shift_probability=1.0, two_conditions=1.0)
    for episode in map(sampler.draw, DRAWS):
        assert (episode.shift is None) == (episode.other is None) == episode.at_home


def test_batches_before_are_of_the_same_domain_and_condition(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, context=1.0, shift_probability=1.0)
    for episode in map(sampler.draw, range(50)):
        assert 1 <= len(episode.earlier) <= 3
        assert all(set(before) <= set(episode.domain.train) for before in episode.earlier)
        again = Episode(episode.domain, episode.earlier[0], episode.shift)
        assert torch.equal(episode.earlier_inputs(CPU)[0], again.inputs(CPU))


def test_two_conditions_share_a_batch(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, two_conditions=1.0, shift_probability=1.0)
    episode = next(e for e in map(sampler.draw, DRAWS) if len(e.positions) == 9)
    assert episode.other not in (None, episode.shift)
    first = Episode(episode.domain, episode.positions[:4], episode.shift)
    second = Episode(episode.domain, episode.positions[4:], episode.other)
    assert torch.equal(episode.inputs(CPU), torch.cat([first.inputs(CPU), second.inputs(CPU)]))
    alone = next(e for e in map(sampler.draw, DRAWS) if len(e.positions) == 1)
    assert alone.inputs(CPU).shape[0] == 1


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 110, 190), (1.0, 300, 300)])
def test_shift_probability_is_the_share_with_a_shift(
    domains: list[LabelledDomain], probability: float, low: int, high: int
) -> None:
    sampler = _sampler(domains, shift_probability=probability)
    assert low <= sum(sampler.draw(number).shift is not None for number in DRAWS) <= high


def test_shifts_take_the_families_and_the_strength_given(domains: list[LabelledDomain]) -> None:
    sampler = _sampler(domains, shift_probability=1.0, shift_strength=0.3, families=("blur", "noise"))
    shifts = [sampler.draw(number).shift for number in range(50)]
    assert {family for shift in shifts if shift for family in shift.families} == {"blur", "noise"}
    assert {shift.strength for shift in shifts if shift} == {0.3}


@pytest.mark.parametrize("skewed", [0.0, 1.0])
def test_a_validation_image_is_never_drawn(domains: list[LabelledDomain], skewed: float) -> None:
    sampler = _sampler(domains, skewed=skewed)
    for number in DRAWS:
        episode = sampler.draw(number)
        assert set(episode.positions).isdisjoint(episode.domain.validation)


def test_inputs_are_the_normalised_pixels(domains: list[LabelledDomain]) -> None:
    episode = Episode(domains[0], (3, 1), None)
    expected = (domains[0].pixels([3, 1]).double() / 255.0 - 0.5) / 0.25
    torch.testing.assert_close(episode.inputs(CPU), expected.float())


def test_inputs_are_shifted_before_they_are_normalised(domains: list[LabelledDomain]) -> None:
    shift = Shift(("photometric",), 1.0, 3)
    expected = (shift(domains[0].pixels([3, 1]).float() / 255.0) - 0.5) / 0.25
    torch.testing.assert_close(Episode(domains[0], (3, 1), shift).inputs(CPU), expected)


def test_labels_are_those_of_the_positions(domains: list[LabelledDomain]) -> None:
    assert Episode(domains[0], (35, 0, 12), None).labels(CPU).tolist() == [2, 0, 1]


def _validation(domains: list[LabelledDomain], **options: Any) -> list[Episode]:
    defaults: dict[str, Any] = {
        "seed": 0,
        "batch_sizes": (1, 4),
        "batches": 3,
        "skewed": 0.0,
        "unshifted": True,
        "strength": 0.7,
    }
    return validation_episodes(domains, **(defaults | options))


def test_validation_takes_validation_images_only(domains: list[LabelledDomain]) -> None:
    episodes = _validation(domains)
    assert episodes
    assert all(set(episode.positions) <= set(episode.domain.validation) for episode in episodes)


def test_validation_shifts_are_of_held_out_families_only(domains: list[LabelledDomain]) -> None:
    shifts = [episode.shift for episode in _validation(domains, batches=20) if episode.shift]
    assert {family for shift in shifts for family in shift.families} == set(HELD_OUT_FAMILIES)
    assert {shift.strength for shift in shifts} == {0.7}


def test_validation_holds_every_domain_and_size_with_and_without_shift(domains: list[LabelledDomain]) -> None:
    counts = Counter((e.domain.name, len(e.positions), e.shift is None) for e in _validation(domains))
    assert counts == {(name, size, plain): 3 for name in ("east", "west") for size in (1, 4) for plain in (True, False)}


def test_validation_without_unshifted_is_shifted_throughout(domains: list[LabelledDomain]) -> None:
    shifted = _validation(domains, unshifted=False)
    assert len(shifted) == 12
    assert all(episode.shift is not None for episode in shifted)
    with_plain = [_key(episode) for episode in _validation(domains) if episode.shift]
    assert [_key(episode) for episode in shifted] == with_plain


def test_validation_is_fixed_by_the_seed(domains: list[LabelledDomain]) -> None:
    one, same, other = ([_key(e) for e in _validation(domains, seed=seed)] for seed in (0, 0, 1))
    assert one == same
    assert one != other


def test_validation_batches_are_no_larger_than_what_is_held_out(domains: list[LabelledDomain]) -> None:
    held = len(domains[0].validation)
    assert {len(e.positions) for e in _validation(domains, batch_sizes=(1000,))} == {held}


def test_a_domain_without_validation_images_gives_no_validation_episode(make_labelled: Any) -> None:
    assert _validation(make_labelled({"site": {"cat": 1, "dog": 1}})) == []


def test_a_share_of_the_validation_is_skewed(domains: list[LabelledDomain]) -> None:
    """Of each domain, size and kind of shift alike."""
    episodes = _validation(domains, batch_sizes=(9,), batches=5, skewed=0.4)
    counts = Counter((e.domain.name, e.shift is None, e.skewed) for e in episodes)
    assert counts == {
        (name, plain, skewed): count
        for name in ("east", "west")
        for plain in (True, False)
        for skewed, count in ((False, 3), (True, 2))
    }
    assert {len(_classes(e)) for e in episodes if not e.skewed} == {3}
    assert min(len(_classes(e)) for e in episodes if e.skewed) < 3
    assert all(set(episode.positions) <= set(episode.domain.validation) for episode in episodes)


def test_skew_in_the_validation_leaves_the_other_batches_as_they_are(domains: list[LabelledDomain]) -> None:
    without = [_key(episode) for episode in _validation(domains, batches=4)]
    share = [_key(episode) for episode in _validation(domains, batches=4, skewed=0.25)]
    assert len(share) == len(without)
    assert all(a == b for place, (a, b) in enumerate(zip(without, share, strict=True)) if place % 4 < 3)
    assert any(a != b for a, b in zip(without, share, strict=True))


def test_validation_at_home_is_unshifted_and_comes_on_top(domains: list[LabelledDomain]) -> None:
    without, with_home = _validation(domains), _validation(domains, at_home=True)
    home = [episode for episode in with_home if episode.at_home]
    assert [_key(e) for e in with_home if not e.at_home] == [_key(e) for e in without]
    assert len(home) == len(without) // 2
    assert all(episode.shift is None for episode in home)
