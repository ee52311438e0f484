from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gformer_cli.adapt.picking import Pick, Picker, pick, pool_size, write_picks

NAMES = ["cat", "dog"]


def outcome(
    after: Sequence[float], before: Sequence[float], features: Sequence[Sequence[float]] | None = None, start: int = 0
) -> Any:
    """Probabilities of the second of two classes; without `features` the model shows none."""
    one, other = (torch.tensor([[1 - p, p] for p in values]) for values in (before, after))
    files = [
        SimpleNamespace(relative=f"{number:06d}.png", path=Path(f"/yard/{number:06d}.png"))
        for number in range(start, start + len(after))
    ]
    shown = None if features is None else SimpleNamespace(probe=SimpleNamespace(features=torch.tensor(features)))
    return SimpleNamespace(
        target="yard",
        probabilities=other,
        labels=other.argmax(dim=1),
        source_probabilities=one,
        source_labels=one.argmax(dim=1),
        batch=SimpleNamespace(files=files),
        prediction=shown,
    )


def picked(wanted: int, *outcomes: Any) -> list[Pick]:
    picker = Picker(NAMES, wanted, seed=0)
    for one in outcomes:
        picker(one)
    return pick([picker.pool], wanted, seed=0)


def drawn(seed: int, count: int, start: int = 0) -> Any:
    """A batch of random answers, every second one sure, and features."""
    random = torch.Generator().manual_seed(seed)
    answers = torch.rand(2, count, generator=random)
    answers[:, ::2] = 0.999
    after, before = answers.tolist()
    return outcome(after, before, torch.rand(count, 4, generator=random).tolist(), start)


def test_an_image_weighs_its_entropy_and_the_divergence_of_the_two_answers() -> None:
    (found,) = picked(1, outcome([0.9], [0.3]))
    entropies = [-(p * math.log(p) + (1 - p) * math.log(1 - p)) / math.log(2) for p in (0.9, 0.3, 0.6)]
    assert found.image.uncertainty == pytest.approx(entropies[0])
    assert found.image.disagreement == pytest.approx(entropies[2] - (entropies[0] + entropies[1]) / 2)
    assert (found.image.label, found.image.confidence) == ("dog", pytest.approx(0.9))
    assert (found.image.source_label, found.image.source_confidence) == ("cat", pytest.approx(0.7))
    assert (found.why, found.stands_for) == ("labels differ", 1)


def test_each_pick_stands_for_others_like_it_and_the_heaviest_come_first() -> None:
    sure, unsure, disputed = (1.0, 1.0, [1.0, 0.0]), (0.6, 0.6, [0.0, 1.0]), (0.99, 0.01, [-1.0, 0.0])
    rows = [sure] * 5 + [disputed] * 4 + [unsure] * 6
    batch = outcome(*([row[place] for row in rows] for place in range(3)))
    found = picked(3, batch)
    assert {(one.why, one.stands_for) for one in found} == {("unsure", 6), ("labels differ", 4), ("typical", 5)}
    assert found[-1].why == "typical"  # the least weight in all


def test_images_on_each_other_come_by_weight_and_no_more_than_there_are() -> None:
    found = picked(9, outcome([0.9, 0.9, 0.9], [0.9, 0.5, 0.7], [[1.0, 0.0]] * 3))
    assert sorted(one.image.path for one in found) == ["000000.png", "000001.png", "000002.png"]
    assert [one.stands_for for one in found] == [3, 1, 1]
    assert found[1].image.weight >= found[2].image.weight


def test_what_the_model_shows_no_features_of_is_told_apart_by_its_answers() -> None:
    shown = outcome([0.9, 0.5, 0.1], [0.9, 0.5, 0.1])
    shown.prediction = SimpleNamespace(probe=SimpleNamespace(features=torch.empty(3, 0)))  # as of a static bundle
    assert {one.image.path for one in picked(3, shown)} == {"000000.png", "000001.png", "000002.png"}
    assert [one.image.path for one in picked(3, shown)] == [
        one.image.path for one in picked(3, outcome([0.9, 0.5, 0.1], [0.9, 0.5, 0.1]))
    ]


def test_memory_does_not_grow_with_the_images() -> None:
    picker = Picker(NAMES, 3, seed=0)
    for number in range(80):
        picker(drawn(number, 50, 50 * number))
        assert len(picker.pool.candidates) <= pool_size(3) == 60
    assert picker.images == 4000
    assert all(one.place.base is None for one in picker.pool.candidates)  # none of them holds its whole batch
    weights = [one.weight for one in picker.pool.candidates]
    assert sum(weights) / len(weights) > 1.5 * picker.weight / picker.images  # the heavy are drawn more often
    assert (pool_size(100), pool_size(5000), pool_size(10_000)) == (2000, 20_000, 20_000)


def test_pools_of_several_processes_give_what_one_gives_in_any_order() -> None:
    batches = [drawn(number, 40, 40 * number) for number in range(9)]
    alone, shared = Picker(NAMES, 5, seed=0), [Picker(NAMES, 5, seed=0) for _ in range(2)]
    for number, batch in enumerate(batches):
        alone(batch)
        shared[number % 2](batches[-1 - number])
    one, both = (
        [vars(found.image)["path"] for found in pick(pools, 5, seed=0)]
        for pools in ([alone.pool], [picker.pool for picker in shared])
    )
    assert one == both
    assert one != [found.image.path for found in pick([alone.pool], 5, seed=1)]


def test_the_list_tells_path_reasons_and_both_answers(tmp_path: Path) -> None:
    write_picks(tmp_path / "picked.csv", picked(2, outcome([0.9, 0.6], [0.3, 0.6])), name_targets=True)
    with (tmp_path / "picked.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2"]
    first = {row["path"]: row for row in rows}["000000.png"]
    assert (first["why"], first["label"], first["source_label"]) == ("labels differ", "dog", "cat")
    assert (first["file"], first["target"]) == ("/yard/000000.png", "yard")
    assert float(first["confidence"]) == pytest.approx(0.9) and float(first["source_confidence"]) == pytest.approx(0.7)


def test_nothing_gives_nothing() -> None:
    assert pick([Picker(NAMES, 3, seed=0).pool], 3, seed=0) == []
