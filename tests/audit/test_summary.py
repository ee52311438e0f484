from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from gformer_cli.audit.records import BatchRecord, ClassifierRecord, LayerRecord
from gformer_cli.audit.summary import PERIODS, summarise
from gformer_cli.errors import InputError

MakeRecord = Callable[..., BatchRecord]


def test_the_whole_is_counted(make_record: MakeRecord) -> None:
    records = [make_record(0), make_record(1, decision="source"), make_record(2), make_record(3, decision="blended")]
    whole = summarise(records).whole
    assert whole is not None
    assert (whole.batches, whole.images, whole.changed, whole.seconds) == (4, 8, 4, 2.0)
    assert whole.decisions == {"generated": 2, "source": 1, "blended": 1}
    assert (whole.first, whole.last) == (records[0].time, records[3].time)
    assert whole.confidence.mean == 0.75
    assert whole.drift.mean == pytest.approx(0.5)  # 0.3 and 0.4 as one length


def test_targets_bundles_and_settings_are_kept_apart(make_record: MakeRecord) -> None:
    records = [
        make_record(0),
        make_record(1, target="night"),
        make_record(2, target="night", bundle="c" * 64, settings={"batch_size": 8}),
    ]
    found = summarise(records)
    assert {name: group.batches for name, group in found.targets.items()} == {"fog": 1, "night": 2}
    assert {name[0]: group.batches for name, group in found.bundles.items()} == {"b": 2, "c": 1}
    assert sorted(value["batch_size"] for value in found.settings.values()) == [2, 8]
    assert found.bundles["b" * 64].last == records[1].time


@pytest.mark.parametrize(
    ("step", "unit", "first"),
    [
        (timedelta(seconds=10), "minute", "2026-03-01 22:30"),
        (timedelta(minutes=20), "hour", "2026-03-01 22:00"),
        (timedelta(hours=4), "day", "2026-03-01"),
        (timedelta(days=9), "month", "2026-03"),
        (timedelta(days=200), "year", "2026"),
        (timedelta(days=900), "year", "2026"),
    ],
)
def test_periods_are_the_finest_that_are_few_enough(
    make_record: MakeRecord, step: timedelta, unit: str, first: str
) -> None:
    start = datetime(2026, 3, 1, 22, 30, tzinfo=timezone.utc)
    found = summarise(make_record(n, time=start + n * step) for n in range(60))
    assert found.unit == unit
    assert next(iter(found.periods)) == first
    assert len(found.periods) <= PERIODS or unit == "year"
    assert sum(group.batches for group in found.periods.values()) == 60


def test_periods_tell_decisions_over_time(make_record: MakeRecord) -> None:
    found = summarise([make_record(0), make_record(0), make_record(5, decision="source")])
    assert [dict(group.decisions) for group in found.periods.values()] == [{"generated": 2}, {"source": 1}]


def test_another_time_zone_is_the_same_moment(make_record: MakeRecord) -> None:
    record = make_record(0)
    there = record.time.astimezone(timezone(timedelta(hours=5)))
    assert list(summarise([record, make_record(0, time=there)]).periods) == ["2026-03-01 22:30"]


def test_layers_come_most_changed_first_with_the_classifier_among_them(make_record: MakeRecord) -> None:
    found = summarise([make_record(0), make_record(1, classifier=ClassifierRecord(name="head", weight=1.4, bias=0.0))])
    changes = [(name, of.change.mean) for name, of in found.most_changed()]
    # by hand: 5/3 of 0.6 and of 0.3; the mean of 0.4 and 1.4
    assert changes == [("second", pytest.approx(1.0)), ("head", pytest.approx(0.9)), ("first", pytest.approx(0.5))]
    assert found.layers["first"].mean_shift.mean == pytest.approx(0.3)
    assert found.layers["first"].spread_shift.mean == pytest.approx(0.4)
    assert found.layers["first"].mixing.mean == 0.5


def test_signals_and_reasons_of_the_guard(make_record: MakeRecord) -> None:
    records = [
        make_record(0, signals={"entropy": 1.0, "size": 4.0}),
        make_record(1, signals={"entropy": 3.0, "size": None}, reasons=["entropy", "size"]),
        make_record(2, signals={"entropy": 8.0}, reasons=["entropy"]),
    ]
    document = summarise(records).to_json()
    assert document["reasons"] == {"entropy": 2, "size": 1}
    assert document["signals"]["entropy"] == {"min": 1.0, "mean": 4.0, "max": 8.0}
    assert document["signals"]["size"] == {"min": 4.0, "mean": 4.0, "max": 4.0}


def test_what_is_not_finite_is_passed_over(make_record: MakeRecord) -> None:
    none = LayerRecord(name="first", **dict.fromkeys(("gamma", "beta", "mixing", "mixing_change"), None),
                       mean_shift=None, spread_shift=1.0)  # fmt: skip
    document = summarise([make_record(0, layers=[none])]).to_json()
    assert document["layers"]["first"]["change"] == {}
    assert document["drift"] is None


def test_a_log_without_any_batch_is_told() -> None:
    with pytest.raises(InputError, match="no batch yet"):
        summarise([])
