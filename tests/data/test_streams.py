from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.data.corruptions import CORRUPTIONS
from gformer_cli.data.orders import BURST, Item, changed_at
from gformer_cli.data.streams import (
    ALIASES,
    BATCH_SIZES,
    COMBINATIONS,
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
    streams_of,
)
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain, ImageFile, ImageFiles


def domain(name: str, labels: Sequence[str]) -> Domain:
    """Images `0.png`, `1.png`, ... in the class folders that the labels name; nothing is on disk."""
    files = [ImageFile(Path(name), f"{label}/{i}.png", label) for i, label in enumerate(labels)]
    ordered = ImageFiles(sorted(files, key=lambda file: file.relative))
    return Domain(name, Path(name), ordered, tuple(sorted(set(labels))))


LOOK_AT_LABELS = {name for name in (*STREAMS, *COMBINATIONS) if name.endswith(("label-shift", "bursts"))}
FOG, NIGHT, GLARE = domain("fog", "ab" * 10), domain("night", "abc" * 7), domain("glare", "aab" * 3)
SITE = domain("site", "ab" * 6)


def by_number(item: Item) -> float:
    """Images arrive by their numbers, whichever target they are of."""
    return float(item.file.name.split(".")[0])


def options(**changes: Any) -> StreamOptions:
    return StreamOptions(
        **{"targets": [FOG, NIGHT, GLARE], "batch_size": 4, "seed": 0, "source": [SITE], "time": by_number, **changes}
    )


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


@pytest.mark.parametrize("name", [*STREAMS, *COMBINATIONS])
def test_the_seed_alone_decides(name: str) -> None:
    first, again, other = (streams_of(name, options(seed=seed)) for seed in (0, 0, 1))
    assert first == again
    drawn = name.rpartition("+")[2] != "arrival" or name.startswith(("dynamic", "gradual"))
    assert (first != other) is drawn  # the images arrived when they did
    assert {stream.kind for stream in first} == {name}


@pytest.mark.parametrize("name", [*STREAMS, *COMBINATIONS])
def test_items_name_the_target_that_their_image_is_of(name: str) -> None:
    owners = {file: d.name for d in (FOG, NIGHT, GLARE) for file in d.files}
    owners |= dict.fromkeys(SITE.files, SOURCE_AGAIN)
    for stream in streams_of(name, options()):
        assert all(item.target == owners[item.file] for batch in stream.batches for item in batch.items)


@pytest.mark.parametrize("name", ["stationary", "gradual", "label-shift"])
@pytest.mark.parametrize("skew", [0.0, 1e-8, 0.1, 100.0])
def test_streams_of_one_target_hold_each_of_its_images_once(name: str, skew: float) -> None:
    found = streams_of(name, options(skew=skew))
    assert [stream.part for stream in found] == ["fog", "night", "glare"]
    for stream, target in zip(found, (FOG, NIGHT, GLARE), strict=True):
        assert Counter(files(stream)) == each(target)
        full, rest = divmod(len(target.files), 4)
        assert sizes(stream) == [4] * full + [rest] * (rest > 0)


def test_stationary_and_dynamic_have_the_same_batches_in_another_order() -> None:
    alone = [batch for stream in streams_of("stationary", options()) for batch in stream.batches]
    (dynamic,) = streams_of("dynamic", options())
    assert Counter(dynamic.batches) == Counter(alone)


def test_dynamic_changes_the_target_with_every_batch_while_there_is_another() -> None:
    (stream,) = streams_of("dynamic", options(targets=[FOG, NIGHT]))  # five and six batches
    seen = [next(iter(names)) for names in targets(stream)]
    repeated = [number for number, (one, two) in enumerate(itertools.pairwise(seen)) if one == two]
    assert all(len(set(seen[number + 1 :])) == 1 for number in repeated)
    assert len(seen) == 11


def test_mixed_holds_each_image_once_and_targets_within_a_batch() -> None:
    (stream,) = streams_of("mixed", options(batch_size=10))
    assert Counter(files(stream)) == each(FOG, NIGHT, GLARE)
    assert sizes(stream) == [10] * 5
    assert all(len(names) > 1 for names in targets(stream))


def test_recurring_comes_back_to_each_target_with_other_images() -> None:
    (stream,) = streams_of("recurring", options())
    assert Counter(files(stream)) == each(FOG, NIGHT, GLARE)
    visits = [name for names, before in zip(targets(stream), [set(), *targets(stream)], strict=False)
              for name in names - before]  # fmt: skip
    assert visits == ["fog", "night", "glare"] * ROUNDS


def test_gradual_grows_to_severity_five_and_fades() -> None:
    (stream,) = streams_of("gradual", options(targets=[domain("long", "ab" * 22)]))
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
        for b in streams_of("gradual", options(seed=seed, targets=[FOG]))[0].batches
        if b.condition
    }
    assert len(names) > 3


def runs(stream: Stream) -> int:
    """How often the class changes from one image to the next."""
    labels = [file.label for file in files(stream)]
    return sum(one != two for one, two in itertools.pairwise(labels))


def test_skew_decides_how_classes_come_in_waves() -> None:
    many = domain("many", "abcde" * 40)
    counts = [runs(streams_of("label-shift", options(targets=[many], skew=skew))[0]) for skew in (0.0, 0.05, 1000.0)]
    assert counts[0] == 4  # one class at a time
    assert counts[0] < counts[1] < counts[2]
    shuffled = runs(streams_of("stationary", options(targets=[many]))[0])
    assert counts[1] < 0.8 * shuffled < counts[2]


def test_bursts_are_of_one_class_and_then_of_another() -> None:
    many = domain("many", "abcde" * 60)
    (stream,) = streams_of("bursts", options(targets=[many]))
    lengths = [len(list(group)) for _, group in itertools.groupby(file.label for file in files(stream))]
    assert max(lengths) <= 2 * BURST[1] and sum(BURST[0] <= length <= BURST[1] for length in lengths) >= 0.7 * len(
        lengths
    )
    assert len(lengths) > 2 * 5  # no class at one time alone


def test_arrival_is_in_the_order_of_time() -> None:
    (stream,) = streams_of("arrival", options(targets=[NIGHT]))
    assert [int(file.name.split(".")[0]) for file in files(stream)] == list(range(21))
    (stream,) = streams_of("mixed+arrival", options())
    assert [file.name for file in files(stream)[:6]] == ["0.png"] * 3 + ["1.png"] * 3
    assert len(targets(stream)[0]) == 3
    (stream,) = streams_of("recurring+arrival", options(targets=[NIGHT, FOG]))
    assert [by_number(item) for batch in stream.batches for item in batch.items if item.target == "night"] == [
        *range(21)
    ]
    assert [targets(stream)[number] for number in (0, 1, 2, 3)] == [{"night"}, {"night"}, {"fog"}, {"fog"}]


@pytest.mark.parametrize("kind", ["mixed", "dynamic", "recurring", "gradual"])
def test_waves_within_another_stream_bring_classes_together(kind: str) -> None:
    wanted = [domain("one", "abcde" * 30), domain("two", "abcde" * 30)]
    how = options(targets=wanted, skew=0.0, batch_size=10)
    plain, waves = streams_of(kind, how)[0], streams_of(f"{kind}+label-shift", how)[0]

    def classes(stream: Stream) -> float:
        return sum(len({item.file.label for item in batch.items}) for batch in stream.batches) / len(stream.batches)

    assert classes(plain) > 4.0 and classes(waves) < 1.5
    assert Counter(files(plain)) == Counter(files(waves)) and waves.kind == f"{kind}+label-shift"
    if kind != "mixed":  # conditions are those of the plain stream
        assert [batch.condition for batch in plain.batches] == [batch.condition for batch in waves.batches]
        assert targets(plain) == targets(waves)
    else:
        assert all(len(found) == 2 for found in targets(waves))


def test_a_file_that_is_gone_has_no_time() -> None:
    with pytest.raises(InputError, match="cannot read"):
        streams_of("arrival", options(time=changed_at))


def test_batch_sizes_use_the_same_images_at_every_size() -> None:
    found = streams_of("batch-sizes", options())
    assert [(s.batch_size, s.part) for s in found] == [
        (size, name) for size in BATCH_SIZES for name in ("fog", "night", "glare")
    ]
    for stream in found:
        assert max(sizes(stream)) == min(stream.batch_size, len(files(stream)))
        assert files(stream) == files(next(s for s in found if s.part == stream.part))


def test_batch_sizes_take_a_sample_that_fills_the_largest_batch() -> None:
    large = [domain(f"d{number}", "ab" * 150) for number in range(8)]
    found = streams_of("batch-sizes", options(targets=large))
    assert {s.batch_size: len(files(s)) for s in found} == {size: max(size, SAMPLE // 8) for size in BATCH_SIZES}
    assert {len(files(s)) for s in streams_of("batch-sizes", options(targets=large[:2]))} == {SAMPLE // 2}


def test_forgetting_ends_with_the_source() -> None:
    (stream,) = streams_of("forgetting", options())
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


@pytest.mark.parametrize("name", sorted({*STREAMS, *COMBINATIONS} - LOOK_AT_LABELS))
def test_relabelling_images_changes_no_batch(relabelled: tuple[Domain, Domain], name: str) -> None:
    def batches(one: Domain) -> list[Any]:
        return [
            [([item.file.path.name for item in batch.items], batch.condition) for batch in stream.batches]
            for stream in streams_of(name, options(targets=[one]))
        ]

    before, after = relabelled
    assert batches(before) == batches(after)


def test_arrival_order_depends_on_names_and_seed(relabelled: tuple[Domain, Domain]) -> None:
    before, after = relabelled
    assert names(arrival_order(before, 0)) == names(arrival_order(after, 0))
    assert sorted(names(arrival_order(before, 0))) == sorted(names(before.files))
    assert names(arrival_order(before, 0)) != names(arrival_order(before, 1))
    assert names(arrival_order(before, 0)) != names(arrival_order(domain("other", ["a", "b", "c"] * 4), 0))


@pytest.mark.parametrize("name", [*STREAMS, *COMBINATIONS])
def test_a_single_image_is_enough_for_every_stream(name: str) -> None:
    found = streams_of(name, options(targets=[domain("one", ["a"])], source=[domain("site", ["b"])]))
    assert all(stream.batches for stream in found)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("mixed_domains", "mixed"),
        ("mixed-domains", "mixed"),
        ("correlated", "label-shift"),
        ("label_shift", "label-shift"),
        ("batch_sizes", "batch-sizes"),
        ("recurring", "recurring"),
        ("mixed+label-shift", "mixed+label-shift"),
        ("correlated+mixed_domains", "mixed+label-shift"),
        ("stationary+bursts", "bursts"),
        ("practical", "recurring+label-shift"),
        ("continual", "continual"),  # no stream goes through the domains just once and stops there
    ],
)
def test_benchmarks_names_stand_for_ours(word: str, name: str) -> None:
    assert stream_name(word) == name


def test_an_alias_hides_no_stream() -> None:
    assert set(ALIASES.values()) <= {*STREAMS, *COMBINATIONS} and not set(ALIASES) & {*STREAMS}
