from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gformer_cli.errors import InputError, WorkError
from gformer_cli.evaluate import Cell, Plan, Results
from gformer_cli.evaluate.limits import (
    TOLERANCE,
    Change,
    check_comparable,
    check_harm,
    compare,
    parse_limits,
    read_baseline,
    require,
)
from gformer_cli.folders.domains import Domain, ImageFiles

MakeCell = Callable[..., Cell]


@pytest.fixture
def make_results(make_cell: MakeCell) -> Callable[..., Results]:
    """`make_results(gformer=[8, 6])`: one target `fog`, 10 images a batch, `source` right for five of each."""

    def make(*, stream: str = "stationary", target: str = "fog", **correct: Sequence[int]) -> Results:
        options: dict[str, Any] = {"images": [10, 10], "stream": stream}
        rows = {"source": [5, 5], **correct}
        return Results({}, list(rows), [make_cell(name, target, row, **options) for name, row in rows.items()], [])

    return make


def test_parse_limits() -> None:
    assert parse_limits(["bn=0.5", "tent=1", "bn=0"], ["bn", "tent"]) == {"bn": 0.0, "tent": 1.0}
    for text in ("bn", "bn=", "bn=x", "bn=1.01", "bn=-0.1", "bn=nan", "bn=inf", "=0.5", "other=0.5"):
        with pytest.raises(InputError, match="--fail-under"):
            parse_limits([text], ["bn"])


def test_check_harm() -> None:
    check_harm(None, ["bn"])
    check_harm(0.0, ["bn", "gformer"])
    for value in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="--fail-harm wants a value from 0 to 1"):
            check_harm(value, ["gformer"])
    with pytest.raises(InputError, match="'gformer', which is not measured"):
        check_harm(0.1, ["bn"])


def test_require_passes_at_the_limit_and_names_everything_beyond(make_results: Callable[..., Results]) -> None:
    results = make_results(bn=[4, 4], gformer=[8, 0])
    require(results, {"bn": 0.4, "gformer": 0.4}, 0.1)
    with pytest.raises(WorkError) as caught:
        require(results, {"bn": 0.5, "source": 0.5, "gformer": 0.6}, 0.05)
    assert caught.value.exit_status == 1
    assert caught.value.message == (
        "limits missed: bn on stationary in batches of 10: accuracy 0.4000 < 0.5000 (--fail-under); "
        "gformer on stationary in batches of 10: accuracy 0.4000 < 0.6000 (--fail-under); "
        "gformer on stationary in batches of 10: harm on fog 0.1000 > 0.0500 (--fail-harm)"
    )


def test_harm_of_other_methods_is_not_judged(make_results: Callable[..., Results]) -> None:
    require(make_results(bn=[0, 0], gformer=[5, 5]), {}, 0.0)


@pytest.fixture
def baseline(make_results: Callable[..., Results], tmp_path: Path) -> Path:
    path = tmp_path / "before.json"
    path.write_text(json.dumps(make_results(bn=[6, 6]).to_json()))
    return path


def test_changes_are_those_of_what_both_have(make_results: Callable[..., Results], baseline: Path) -> None:
    changes = compare(make_results(bn=[6, 7], gformer=[9, 9]), read_baseline(baseline))
    assert changes == [
        Change("stationary", 10, "source", 0.5, 0.5),
        Change("stationary", 10, "bn", 0.6, pytest.approx(0.65)),
    ]
    assert compare(make_results(stream="mixed", bn=[6, 6]), read_baseline(baseline)) == []


def test_a_loss_beyond_the_tolerance_is_a_regression(make_results: Callable[..., Results], baseline: Path) -> None:
    assert not Change("mixed", 8, "bn", 0.6, 0.6 - TOLERANCE + 1e-9).regressed
    assert Change("mixed", 8, "bn", 0.6, 0.6 - TOLERANCE - 1e-9).regressed
    worse = make_results(bn=[5, 5])
    with pytest.raises(WorkError, match=r"bn on stationary in batches of 10: accuracy 0.6000 -> 0.5000 \(--baseline\)"):
        require(worse, {}, None, compare(worse, read_baseline(baseline)))
    same = make_results(bn=[6, 6])
    require(same, {}, None, compare(same, read_baseline(baseline)))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema_version": 2}', '{"schema_version": 2, "summaries": [{"stream": 1}]}']
)
def test_what_is_no_results_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"not a results\.json"):
        read_baseline(tmp_path / "x.json")


def test_another_schema_and_a_missing_file_are_told(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"schema_version": 1}')
    with pytest.raises(InputError, match="schema version 1; this gformer compares version 2"):
        read_baseline(tmp_path / "old.json")
    with pytest.raises(InputError, match=r"cannot read baseline .*No such file"):
        read_baseline(tmp_path / "missing.json")


def test_a_baseline_must_share_a_method_a_stream_and_the_targets(
    make_results: Callable[..., Results], make_plan: Callable[..., Plan]
) -> None:
    def summaries(**others: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = make_results(bn=[6, 6], **others).to_json()["summaries"]
        return found

    plan = make_plan("bn", batch_size=10)
    own = [summary | {"targets": {"red": 1, "green": 1, "blue": 1}} for summary in summaries()]
    check_comparable(own, plan)
    with pytest.raises(InputError, match="other targets: fog"):
        check_comparable(summaries(), plan)
    for other in (make_plan("tent", batch_size=10), make_plan("bn", batch_size=10, streams=["mixed"]), make_plan("bn")):
        with pytest.raises(InputError, match="no method and stream in common"):
            check_comparable(own, other)
    spelled = [summary | {"targets": {"de\u0301po\u0302t": 0.5}} for summary in own]
    check_comparable(spelled, replace(plan, targets=[Domain("d\u00e9p\u00f4t", Path(), ImageFiles(), ())]))
    sizes = [summary | {"stream": "batch-sizes", "batch_size": 1} for summary in own]
    check_comparable(sizes, make_plan("bn", streams=["batch-sizes"]))
