from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest
import torch

from gformer_cli.seeding import derive_seed


def test_seed_is_the_first_63_bits_of_the_hash_of_the_name() -> None:
    digest = hashlib.sha256(b"7/episode/12").hexdigest()
    assert derive_seed(7, "episode", 12) == int(digest[:16], 16) >> 1


def test_seed_depends_on_the_number_and_on_every_part_of_the_name() -> None:
    calls: list[tuple[Any, ...]] = [
        (0,),
        (1,),
        (0, "a"),
        (0, "b"),
        (0, "a", 1),
        (0, "a", 2),
        (0, 1, "a"),
        (0, "a", "b"),
        (0, "b", "a"),
    ]
    assert len({derive_seed(*call) for call in calls}) == len(calls)


def test_seed_does_not_depend_on_earlier_draws() -> None:
    expected = derive_seed(3, "order", "site")
    random.random()
    torch.rand(3)
    derive_seed(3, "other")
    assert derive_seed(3, "order", "site") == expected


def test_seeds_fit_every_random_generator_and_spread_over_their_range() -> None:
    seeds = [derive_seed(0, number) for number in range(500)]
    assert len(set(seeds)) == 500
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert 0.45 < sum(seeds) / 500 / 2**63 < 0.55
    assert torch.Generator().manual_seed(max(seeds)).initial_seed() == max(seeds)


@pytest.mark.parametrize("name", ["犬", "caf\udce9"])
def test_names_of_any_file_system_are_accepted(name: str) -> None:
    assert derive_seed(0, name) != derive_seed(0, "cafe")
