from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from gformer_cli.bundle import Bundle, StaticHeader
from gformer_cli.core.backbone import Backbone
from gformer_cli.data.corruptions import CORRUPTIONS
from gformer_cli.data.streams import STREAMS
from gformer_cli.errors import InputError
from gformer_cli.evaluate import plan as module
from gformer_cli.evaluate.plan import (
    DEFAULT_METHODS,
    SHIFTS,
    Plan,
    Wish,
    check_plan,
    choose,
    impossible_methods,
    impossible_streams,
    left_out,
    limited,
    remarks,
)
from gformer_cli.folders.domains import Domain, ImageFiles

MakePlan = Callable[..., Plan]
KNOWN = ["stationary", "mixed", "forgetting"]
WHY = {"forgetting": "It needs the source"}


def test_choose_takes_lists_and_repeated_words_and_drops_repetitions() -> None:
    assert choose(["mixed,stationary", " mixed ", "stationary,"], KNOWN, "stream", {}) == ["mixed", "stationary"]


def test_all_is_everything_that_can_be_had() -> None:
    assert choose(["all"], KNOWN, "stream", {}) == KNOWN
    assert choose(["mixed", "all"], KNOWN, "stream", WHY) == ["stationary", "mixed"]


def test_streams_may_go_by_the_benchmarks_names(wish: Wish, bundle: Bundle) -> None:
    own = replace(wish, streams=["mixed_domains,correlated", "mixed"])
    assert module.make_plan(own, bundle, [], has_source=False).streams == ["mixed", "label-shift"]
    with pytest.raises(InputError, match="unknown stream: 'mixed_domain'"):
        module.make_plan(replace(wish, streams=["mixed_domain"]), bundle, [], has_source=False)


@pytest.fixture
def wish() -> Wish:
    """Nothing but defaults."""
    usual = {"batch_size": 4, "seeds": [0], "skew": 0.1, "limit": None, "examine": False, "reported": False}
    return Wish(methods=None, streams=None, shifts=False, **usual)  # type: ignore[arg-type]


def test_what_is_wished_for_is_planned(wish: Wish, bundle: Bundle, domains: list[Domain]) -> None:
    usual = module.make_plan(wish, bundle, domains, has_source=False)
    assert usual.methods == list(DEFAULT_METHODS) and usual.streams == ["stationary"] and usual.targets == domains
    without = module.make_plan(wish, replace(bundle, constant=None), domains, has_source=False)
    assert "constant" not in without.methods
    own = replace(wish, methods=["bn"], streams=["mixed"], batch_size=3, seeds=[4, 4, 5], skew=0.5, limit=2)
    plan = module.make_plan(own, bundle, domains, has_source=False)
    assert (plan.methods, plan.streams, plan.skew) == (["bn"], ["mixed"], 0.5)
    assert plan.choices == {"methods": ["bn"], "streams": ["mixed"], "batch_size": 3, "seeds": [4, 5]}
    assert [len(target.files) for target in plan.targets] == [2, 2, 2]
    assert module.make_plan(replace(wish, shifts=True), bundle, [], has_source=True).streams == [SHIFTS]


def test_a_report_looks_into_gformer_where_it_is_measured(wish: Wish, bundle: Bundle) -> None:
    assert [module.make_plan(replace(wish, **{name: True}), bundle, [], has_source=False).examine
            for name in ("examine", "reported", "shifts")] == [True, True, False]  # fmt: skip
    other = replace(wish, methods=["bn"])
    assert module.make_plan(replace(other, reported=True), bundle, [], has_source=False).methods == ["bn"]
    with pytest.raises(InputError, match="--examine looks into 'gformer', which is not measured"):
        module.make_plan(replace(other, examine=True), bundle, [], has_source=False)


def test_what_all_cannot_mean_is_told(wish: Wish, bundle: Bundle) -> None:
    everything = replace(wish, methods=["bn,all"], streams=["all"])
    assert left_out(wish, bundle, has_source=False) == []
    (foa,) = left_out(everything, bundle, has_source=True)
    assert foa.startswith("left out: foa. It needs a vision transformer of timm or torchvision")
    foa, line = left_out(everything, bundle, has_source=False)
    assert line == "left out: forgetting. It needs the source images: add --source DIR."
    foa, line = left_out(everything, replace(bundle, constant=None), has_source=True)
    assert line.startswith("left out: constant. This bundle holds no constant generator;")


@pytest.mark.parametrize("words", [["forgetting"], ["all", "forgetting"], ["mixed,forgetting"]])
def test_what_cannot_be_had_is_refused_by_name_with_the_reason(words: list[str]) -> None:
    with pytest.raises(InputError, match="the stream 'forgetting' cannot be measured here\nIt needs the source\\."):
        choose(words, KNOWN, "stream", WHY)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown stream: 'mixd'\nDid you mean 'mixed'\\?"):
        choose(["stationary,mixd"], KNOWN, "stream", {})
    for nothing in ([""], [","], []):
        with pytest.raises(InputError, match="no stream named"):
            choose(nothing, KNOWN, "stream", {})


def test_what_is_impossible_depends_on_the_bundle_and_on_source_images(bundle: Bundle) -> None:
    assert list(impossible_methods(bundle)) == ["foa"]
    assert "meta_train.constant=true" in impossible_methods(replace(bundle, constant=None))["constant"]
    unguarded = replace(bundle, header=bundle.header.model_copy(update={"guard": None}))
    assert list(impossible_methods(unguarded)) == ["foa", "gformer-guard"]
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 64, 2))
    without = impossible_methods(replace(bundle, backbone=Backbone(network, image_size=8)))
    assert without["note"] == "It needs BatchNorm, and the network has GroupNorm alone" and "tent" not in without
    assert impossible_streams(has_source=True) == {}
    assert "--source" in impossible_streams(has_source=False)["forgetting"]


def test_the_reference_is_measured_once_and_first(make_plan: MakePlan) -> None:
    assert make_plan("bn", "tent").measured == ["source", "bn", "tent"]
    assert make_plan("bn", "source").measured == ["source", "bn"]


def test_every_stream_is_drawn_for_every_seed(make_plan: MakePlan) -> None:
    plan = make_plan("bn", streams=("mixed", "stationary"), seeds=(3, 5))
    drawn = [(seed, stream.kind, stream.part) for seed, stream in plan.drawn()]
    assert drawn == [
        (seed, kind, part)
        for seed in (3, 5)
        for kind, part in [("mixed", "all"), *(("stationary", name) for name in ("blue", "green", "red"))]
    ]


def test_batch_size_and_skew_reach_the_streams(make_plan: MakePlan) -> None:
    plan = make_plan("bn", streams=("label-shift",), batch_size=3, skew=0.0)
    for _, stream in plan.drawn():
        assert [len(batch.items) for batch in stream.batches] == [3, 3, 3, 1]
        labels = [item.file.label for batch in stream.batches for item in batch.items]
        assert labels in (sorted(map(str, labels)), sorted(map(str, labels), reverse=True))


def test_shifts_are_drawn_from_the_source(make_plan: MakePlan, domains: list[Domain]) -> None:
    plan = make_plan("bn", streams=(SHIFTS,), targets=(), source=domains[:1])
    drawn = plan.drawn()
    assert len(drawn) == 1 + 5 * len(CORRUPTIONS)
    assert {item.file for _, s in drawn for batch in s.batches for item in batch.items} == set(domains[0].files)
    assert SHIFTS not in STREAMS
    some = make_plan("bn", streams=(SHIFTS,), source=domains[:1], corruptions=["rain", "fog"], severities=[2, 4])
    assert [(stream.part, stream.severity) for _, stream in some.drawn()] == [
        ("(none)", 0),
        *((name, severity) for name in ("rain", "fog") for severity in (2, 4)),
    ]
    every = {(stream.part, stream.severity): stream for _, stream in drawn}
    assert all(every[stream.part, stream.severity] == stream for _, stream in some.drawn())


def test_a_limit_is_of_each_source_domain_under_shifts(wish: Wish, bundle: Bundle, domains: list[Domain]) -> None:
    limited_plan = module.make_plan(replace(wish, shifts=True, limit=3), bundle, [], has_source=True)
    plan = replace(limited_plan, source=domains[:2])
    counts = {sum(len(batch.items) for batch in stream.batches) for _, stream in plan.drawn()}
    assert counts == {6}
    assert plan.source == domains[:2]  # methods that look at the source see all of it
    assert plan.choices["limit"] == 3
    assert "limit" not in module.make_plan(replace(wish, shifts=True), bundle, [], has_source=True).choices
    with pytest.raises(InputError, match="--limit must be 1 or more, got 0"):
        module.make_plan(replace(wish, shifts=True, limit=0), bundle, [], has_source=True)


def test_two_orders_are_not_joined(wish: Wish, bundle: Bundle) -> None:
    for word in ("label-shift+bursts", "mixed+bursts+arrival"):
        with pytest.raises(InputError, match=f"two orders cannot be joined: '{re.escape(word)}'"):
            module.make_plan(replace(wish, streams=[word]), bundle, [], has_source=False)


def test_a_skew_that_changes_nothing_is_told(make_plan: MakePlan) -> None:
    (told,) = remarks(make_plan("bn", skew=0.5), has_source=True)
    assert told.startswith("--label-skew is for streams in the order label-shift")
    for streams in (["label-shift"], ["stationary", "mixed+label-shift"]):
        assert remarks(make_plan("bn", skew=0.5, streams=streams), has_source=True) == []


def test_a_plan_is_checked(make_plan: MakePlan, bundle: Bundle, domains: list[Domain]) -> None:
    check_plan(make_plan("bn", skew=0.0), bundle)
    with pytest.raises(InputError, match="batch size must be 1 or more"):
        check_plan(make_plan("bn", batch_size=0), bundle)
    for skew in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="--label-skew must be 0 or more"):
            check_plan(make_plan("bn", skew=skew), bundle)
    foreign = replace(domains[0], classes=("dark", "lite"))
    with pytest.raises(InputError, match=r"does not know: lite\nDid you mean 'light'\?"):
        check_plan(make_plan("bn", targets=[foreign]), bundle)


def test_remarks_tell_of_small_targets_single_classes_and_missing_source(
    make_plan: MakePlan, domains: list[Domain]
) -> None:
    assert remarks(make_plan("bn", "eata"), has_source=True) == []
    kept = StaticHeader(target="fog", images=4, batches=1, batch_size=4, seed=0, fingerprint="")
    (static,) = remarks(make_plan("bn"), has_source=True, static=kept)
    assert static.startswith("static bundle: gformer predicts every batch with what was kept from fog")
    small = make_plan("bn", batch_size=11)
    assert remarks(small, has_source=True) == [
        "fewer images than one batch of 11, so batches are smaller: blue (10), green (10), red (10)"
    ]
    dark = replace(domains[0], files=ImageFiles(file for file in domains[0].files if file.label == "dark"))
    (single,) = remarks(make_plan("bn", targets=[dark, domains[1]]), has_source=True)
    assert single == "images of one class only, so statistics of a batch mislead: blue"
    (blind,) = remarks(make_plan("bn", "eata"), has_source=False)
    assert blind == "without --source eata is ETA, which nothing holds near the source model"


def test_limited_draws_so_many_images_of_each_domain_whatever_their_labels(domains: list[Domain]) -> None:
    assert limited(domains, None) == domains == limited(domains, 99)
    found = limited(domains, 4)
    for whole, part in zip(domains, found, strict=True):
        assert len(part.files) == 4 and set(part.files) < set(whole.files)
        assert part.files == tuple(sorted(part.files, key=lambda file: file.relative))
    assert limited(domains, 4) == found
    with pytest.raises(InputError, match="--limit must be 1 or more, got 0"):
        limited(domains, 0)


def test_a_domain_without_any_class_folder_is_no_single_class(make_plan: MakePlan) -> None:
    nothing = Domain("empty", Path("empty"), ImageFiles(), ("dark", "light"))
    assert not any("one class" in text for text in remarks(make_plan("bn", targets=[nothing]), has_source=True))
