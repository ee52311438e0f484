from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.data.corruptions import CORRUPTIONS
from gformer_cli.data.streams import (
    ALIASES,
    BATCH_SIZES,
    NEEDS_SOURCE,
    ROUNDS,
    SAMPLE,
    SOURCE_AGAIN,
    STREAMS,
    Stream,
    StreamOptions,
    arrival_order,
    shifts,
    stream_name,
)
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles


def domain(name: str, labels: Sequence[str]) -> Domain:
    """Images `0.png`, `1.png`, ... in the class folders that the labels name; nothing is on disk."""
    files = [ImageFile(Path(name), f"{label}/{i}.png", label) for i, label in enumerate(labels)]
    ordered = ImageFiles(sorted(files, key=lambda file: file.relative))
    return Domain(name, Path(name), ordered, tuple(sorted(set(labels))))


FOG, NIGHT, GLARE = domain("fog", "ab" * 10), domain("night", "abc" * 7), domain("glare", "aab" * 3)
SITE = domain("site", "ab" * 6)


def options(**changes: Any) -> StreamOptions:
    return StreamOptions(**{"targets": [FOG, NIGHT, GLARE], "batch_size": 4, "seed": 0, "source": [SITE], **changes})


def files(stream: Stream) -> list[ImageFile]:
    return [item.file for batch in stream.batches for item in batch.items]


def sizes(stream: Stream) -> list[int]:
    return [len(batch.items) for batch in stream.batches]


def targets(stream: Stream) -> list[set[str]]:
    """Whose images each batch holds."""
    return [{item.target for item in batch.items} for batch in stream.batches]


def each(*domains: Domain, times: int = 1) -> Counter[ImageFile]:
    """Every image of `domains`, so often."""
    return Counter({file: times for domain in domains for file in domain.files})


@pytest.mark.parametrize("name", STREAMS)
def test_the_seed_alone_decides(name: str) -> None:
    first, again, other = (STREAMS[name](options(seed=seed)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert {stream.kind for stream in first} == {name}


@pytest.mark.parametrize("name", STREAMS)
def test_items_name_the_target_that_their_image_is_of(name: str) -> None:
    owners = {file: d.name for d in (FOG, NIGHT, GLARE) for file in d.files}
    owners |= dict.fromkeys(SITE.files, SOURCE_AGAIN)
    for stream in STREAMS[name](options()):
        assert all(item.target == owners[item.file] for batch in stream.batches for item in batch.items)


@pytest.mark.parametrize("name", ["stationary", "gradual", "label-shift"])
@pytest.mark.parametrize("skew", [0.0, 1e-8, 0.1, 100.0])
def test_streams_of_one_target_hold_each_of_its_images_once(name: str, skew: float) -> None:
    found = STREAMS[name](options(skew=skew))
    assert [stream.part for stream in found] == ["fog", "night", "glare"]
    for stream, target in zip(found, (FOG, NIGHT, GLARE), strict=True):
        assert Counter(files(stream)) == each(target)
        full, rest = divmod(len(target.files), 4)
        assert sizes(stream) == [4] * full + [rest] * (rest > 0)


def test_stationary_and_dynamic_have_the_same_batches_in_another_order() -> None:
    alone = [batch for stream in STREAMS["stationary"](options()) for batch in stream.batches]
    (dynamic,) = STREAMS["dynamic"](options())
    assert Counter(dynamic.batches) == Counter(alone)


def test_dynamic_changes_the_target_with_every_batch_while_there_is_another() -> None:
    (stream,) = STREAMS["dynamic"](options(targets=[FOG, NIGHT]))  # five and six batches
    seen = [next(iter(names)) for names in targets(stream)]
    repeated = [number for number, (one, two) in enumerate(itertools.pairwise(seen)) if one == two]
    assert all(len(set(seen[number + 1 :])) == 1 for number in repeated)
    assert len(seen) == 11


def test_mixed_holds_each_image_once_and_targets_within_a_batch() -> None:
    (stream,) = STREAMS["mixed"](options(batch_size=10))
    assert Counter(files(stream)) == each(FOG, NIGHT, GLARE)
    assert sizes(stream) == [10] * 5
    assert all(len(names) > 1 for names in targets(stream))


def test_recurring_comes_back_to_each_target_with_other_images() -> None:
    (stream,) = STREAMS["recurring"](options())
    assert Counter(files(stream)) == each(FOG, NIGHT, GLARE)
    visits = [name for names, before in zip(targets(stream), [set(), *targets(stream)], strict=False)
              for name in names - before]  # fmt: skip
    assert visits == ["fog", "night", "glare"] * ROUNDS


def test_gradual_grows_to_severity_five_and_fades() -> None:
    (stream,) = STREAMS["gradual"](options(targets=[domain("long", "ab" * 22)]))
    severities = [batch.condition.severity if batch.condition else 0 for batch in stream.batches]
    assert len(severities) == 11 and severities[5] == max(severities) == 5 and severities[0] <= 1
    assert severities == severities[::-1]
    assert severities[:6] == sorted(severities[:6])
    conditions = {(b.condition.corruption, b.condition.seed) for b in stream.batches if b.condition}
    assert len(conditions) == 1 and conditions.pop()[0] in CORRUPTIONS


def test_gradual_draws_another_corruption_for_other_seeds() -> None:
    names = {
        b.condition.corruption
        for seed in range(12)
        for b in STREAMS["gradual"](options(seed=seed, targets=[FOG]))[0].batches
        if b.condition
    }
    assert len(names) > 3


def runs(stream: Stream) -> int:
    """How often the class changes from one image to the next."""
    labels = [file.label for file in files(stream)]
    return sum(one != two for one, two in itertools.pairwise(labels))


def test_skew_decides_how_classes_come_in_waves() -> None:
    many = domain("many", "abcde" * 40)
    counts = [runs(STREAMS["label-shift"](options(targets=[many], skew=skew))[0]) for skew in (0.0, 0.05, 1000.0)]
    assert counts[0] == 4  # one class at a time
    assert counts[0] < counts[1] < counts[2]
    shuffled = runs(STREAMS["stationary"](options(targets=[many]))[0])
    assert counts[1] < 0.8 * shuffled < counts[2]


def test_batch_sizes_use_the_same_images_at_every_size() -> None:
    found = STREAMS["batch-sizes"](options())
    assert [(s.batch_size, s.part) for s in found] == [
        (size, name) for size in BATCH_SIZES for name in ("fog", "night", "glare")
    ]
    for stream in found:
        assert max(sizes(stream)) == min(stream.batch_size, len(files(stream)))
        assert files(stream) == files(next(s for s in found if s.part == stream.part))


def test_batch_sizes_take_a_sample_that_fills_the_largest_batch() -> None:
    large = [domain(f"d{number}", "ab" * 150) for number in range(8)]
    found = STREAMS["batch-sizes"](options(targets=large))
    assert {s.batch_size: len(files(s)) for s in found} == {size: max(size, SAMPLE // 8) for size in BATCH_SIZES}
    assert {len(files(s)) for s in STREAMS["batch-sizes"](options(targets=large[:2]))} == {SAMPLE // 2}


def test_forgetting_ends_with_the_source() -> None:
    (stream,) = STREAMS["forgetting"](options())
    assert Counter(files(stream)) == each(FOG, NIGHT, GLARE, SITE)
    assert targets(stream)[-3:] == [{SOURCE_AGAIN}] * 3 and {SOURCE_AGAIN} not in targets(stream)[:-3]
    assert set(NEEDS_SOURCE) == {"forgetting"}


def test_shifts_hold_the_same_images_under_every_corruption_and_severity() -> None:
    found = shifts([SITE, FOG], 4, 0)
    assert len(found) == 1 + 5 * len(CORRUPTIONS)
    assert [(s.part, s.severity) for s in found[:7]] == [
        ("(none)", 0),
        *(("gaussian-noise", severity) for severity in range(1, 6)),
        ("shot-noise", 1),
    ]
    for stream in found:
        assert files(stream) == files(found[0]) and Counter(files(stream)) == each(SITE, FOG)
        assert targets(stream) == [{stream.part}] * len(stream.batches)
        wanted = None if stream.severity == 0 else (stream.part, stream.severity)
        assert {b.condition and (b.condition.corruption, b.condition.severity) for b in stream.batches} == {wanted}
    assert files(shifts([SITE, FOG], 4, 1)[0]) != files(found[0])


def test_the_severities_of_a_corruption_share_their_seed() -> None:
    seeds: dict[str, set[int]] = {}
    for stream in shifts([SITE], 4, 0)[1:]:
        seeds.setdefault(stream.part, set()).update(b.condition.seed for b in stream.batches if b.condition)
    assert all(len(own) == 1 for own in seeds.values())
    assert len(set.union(*seeds.values())) == len(CORRUPTIONS)


def test_shifts_take_a_sample_of_every_domain() -> None:
    large = [domain(f"d{number}", "ab" * 200) for number in range(4)]
    (stream, *_) = shifts(large, 64, 0)
    owners = Counter(file.path.parts[0] for file in files(stream))
    assert owners == {f"d{number}": SAMPLE // 4 for number in range(4)}


@pytest.fixture
def relabelled() -> tuple[Domain, Domain]:
    """The same twelve file names under two labellings."""
    return domain("camera", ["a", "b", "c"] * 4), domain("camera", ["c", "c", "a", "b"] * 3)


def names(images: Sequence[ImageFile]) -> list[str]:
    return [image.path.name for image in images]


@pytest.mark.parametrize("name", sorted(set(STREAMS) - {"label-shift"}))
def test_relabelling_images_changes_no_batch(relabelled: tuple[Domain, Domain], name: str) -> None:
    def batches(one: Domain) -> list[Any]:
        return [
            [([item.file.path.name for item in batch.items], batch.condition) for batch in stream.batches]
            for stream in STREAMS[name](options(targets=[one]))
        ]

    before, after = relabelled
    assert batches(before) == batches(after)


def test_arrival_order_depends_on_names_and_seed(relabelled: tuple[Domain, Domain]) -> None:
    before, after = relabelled
    assert names(arrival_order(before, 0)) == names(arrival_order(after, 0))
    assert sorted(names(arrival_order(before, 0))) == sorted(names(before.files))
    assert names(arrival_order(before, 0)) != names(arrival_order(before, 1))
    assert names(arrival_order(before, 0)) != names(arrival_order(domain("other", ["a", "b", "c"] * 4), 0))


@pytest.fixture
def kinds() -> dict[str, Callable[[StreamOptions], list[Stream]]]:
    return STREAMS


def test_a_single_image_is_enough_for_every_stream(kinds: dict[str, Any]) -> None:
    for name, kind in kinds.items():
        found = kind(options(targets=[domain("one", ["a"])], source=[domain("site", ["b"])]))
        assert all(stream.batches for stream in found), name


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("mixed_domains", "mixed"),
        ("mixed-domains", "mixed"),
        ("correlated", "label-shift"),
        ("label_shift", "label-shift"),
        ("batch_sizes", "batch-sizes"),
        ("recurring", "recurring"),
        ("continual", "continual"),  # no stream goes through the domains just once and stops there
    ],
)
def test_benchmarks_names_stand_for_ours(word: str, name: str) -> None:
    assert stream_name(word) == name


def test_an_alias_hides_no_stream() -> None:
    assert set(ALIASES.values()) <= set(STREAMS) and not set(ALIASES) & set(STREAMS)
