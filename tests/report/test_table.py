from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from gformer_cli.data.corruptions import CORRUPTIONS
from gformer_cli.data.streams import PLAIN
from gformer_cli.evaluate import Cell, Choice, Results
from gformer_cli.evaluate.harm import harms
from gformer_cli.evaluate.limits import Change
from gformer_cli.report.table import change_table, harm_tables, result_tables, tuned_table

MakeCell = Callable[..., Cell]


def lines(table: Table) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=250).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.fixture
def show(make_cell: MakeCell) -> Callable[..., list[list[str]]]:
    """Lines of the tables that `(method, target, correct of four batches of ten, changes)` rows make."""

    def call(*rows: tuple[str, str, list[int], dict[str, Any]]) -> list[list[str]]:
        cells = [make_cell(m, t, right, images=[10] * len(right), **changes) for m, t, right, changes in rows]
        return [
            lines(table) for table in result_tables(Results({}, list(dict.fromkeys(r[0] for r in rows)), cells, []))
        ]

    return call


def test_methods_go_down_and_targets_across(show: Callable[..., list[list[str]]]) -> None:
    ((title, header, *rows),) = show(
        ("source", "fog", [5, 5, 5, 5], {}),
        ("gformer", "fog", [8, 7, 8, 7], {"cost_ratio": 2.0}),
        ("source", "night", [6, 6, 6, 6], {}),
        ("gformer", "night", [5, 5, 5, 5], {"cost_ratio": 2.5}),
    )
    assert title == "Accuracy in %, stream stationary, batches of 10"
    assert header.split() == ["method", "fog", "night", "average", "to", "source", "harm", "x", "plain", "forward"]
    assert rows[0].split() == ["source", "50.0", "60.0", "55.0", "0.0", "1.00"]
    cells = rows[1].split()
    assert cells[:5] == ["gformer", "75.0", "50.0", "62.5", "+7.5"]
    assert cells[5].startswith("[") and cells[6].endswith("]")
    assert cells[7:] == ["10.0", "2.25"]
    assert len(rows[1]) == len(header)  # numbers stand under each other


def test_seeds_give_a_mean_and_its_error(show: Callable[..., list[list[str]]]) -> None:
    ((_, _, source, bn),) = show(
        *(("source", "fog", [5], {"seed": seed}) for seed in (0, 1)),
        *(("bn", "fog", [right], {"seed": seed}) for seed, right in enumerate([6, 8])),
    )
    assert source.split()[:5] == ["source", "50.0", "50.0", "±", "0.0"]
    assert bn.split()[:6] == ["bn", "70.0", "70.0", "±", "10.0", "+20.0"]


def test_one_batch_gives_no_interval_and_nothing_is_never_negative(show: Callable[..., list[list[str]]]) -> None:
    ((_, _, _, bn),) = show(("source", "fog", [5], {}), ("bn", "fog", [5], {}))
    assert bn.split() == ["bn", "50.0", "50.0", "+0.0", "0.0", "1.00"]


def test_sparklines_show_each_method_along_the_stream(make_cell: MakeCell) -> None:
    cells = [
        make_cell("source", "fog", [5, 5, 5, 5], images=[10] * 4),
        make_cell("bn", "fog", [9, 7, 3, 1], images=[10] * 4),
    ]
    results = Results({}, ["source", "bn"], cells, [])
    (drawn,), (plain,) = (result_tables(results, sparklines=wanted) for wanted in (True, False))
    assert lines(drawn)[1].split()[-1] == "along"
    assert [line.split()[-1] for line in lines(drawn)[2:]] == ["▅▅▅▅", "█▆▃▁"]
    assert "along" not in lines(plain)[1]


def test_one_batch_draws_no_sparkline(make_cell: MakeCell) -> None:
    (drawn,) = result_tables(Results({}, ["source"], [make_cell("source", "fog", [5])], []), sparklines=True)
    assert "along" not in lines(drawn)[1]


def test_best_is_bold_and_harm_is_red(make_cell: MakeCell) -> None:
    cells = [make_cell("source", "fog", [5, 5]), make_cell("bn", "fog", [4, 5])]
    out = io.StringIO()
    (made,) = result_tables(Results({}, ["source", "bn"], cells, []))
    Console(file=out, width=200, force_terminal=True, color_system="standard", no_color=False).print(made)
    _, _, source, bn = out.getvalue().splitlines()
    assert "\x1b[1m" in source and "\x1b[31m" not in source
    assert "\x1b[31m" in bn and "\x1b[1m" not in bn


def test_every_stream_has_a_table_and_batch_sizes_go_across(show: Callable[..., list[list[str]]]) -> None:
    sizes = [("source", "fog", [number], {"stream": "batch-sizes", "batch_size": number}) for number in (1, 8, 2)]
    first, second = show(("source", "fog", [4], {"stream": "mixed"}), *sizes)
    assert first[0] == "Accuracy in %, stream mixed, batches of 10"
    assert second == [
        "Accuracy in %, stream batch-sizes, by batch size",
        "method     1     2     8",
        "source  10.0  20.0  80.0",
    ]


def test_corruptions_are_shown_by_group_and_by_severity(show: Callable[..., list[list[str]]]) -> None:
    def rows(severity: int, right: dict[str, int]) -> list[tuple[str, str, list[int], dict[str, Any]]]:
        names = ["(none)"] if severity == 0 else list(CORRUPTIONS)
        changes = {"stream": "shifts", "severity": severity}
        return [
            ("source", name, [right.get(CORRUPTIONS[name].group if severity else "", 4)], changes) for name in names
        ]

    groups, severities = show(*rows(0, {"": 9}), *rows(1, {"noise": 8}), *rows(2, {"noise": 6}))
    header, row = groups[1].split(), groups[2].split()
    assert header[:8] == ["method", "(none)", "noise", "blur", "weather", "digital", "photometric", "geometric"]
    assert row[:8] == ["source", "90.0", "70.0", "40.0", "40.0", "40.0", "40.0", "40.0"]
    assert severities[1].split() == ["method", "0", "1", "2"]
    noise = sum(corruption.group == "noise" for corruption in CORRUPTIONS.values()) / len(CORRUPTIONS)
    wanted = [90.0, 40.0 + 40.0 * noise, 40.0 + 20.0 * noise]
    assert severities[2].split() == ["source", *(f"{value:.1f}" for value in wanted)]
    changes = {"stream": "shifts", "severity": 1}
    some, _ = show(*(("source", name, [right], changes) for name, right in (("fog", 3), ("imagenet-c:fog", 5))))
    assert some[1].split()[:3] == ["method", "weather", "imagenet-c:weather"] and some[2].split()[1:3] == [
        "30.0",
        "50.0",
    ]


def test_target_names_are_shown_as_they_are(show: Callable[..., list[list[str]]]) -> None:
    ((_, header, *_),) = show(("source", "[red]犬", [1], {}))
    assert "[red]犬" in header


def test_what_was_tuned() -> None:
    choices = {"bn-mix": Choice({"prior_count": 4, "b": 0.5}, 0.75, 0.5, 5), "tent": Choice({}, 0.25, 0.25, 3)}
    assert [line.split() for line in lines(tuned_table(choices))[2:]] == [
        ["bn-mix", "prior_count=4,", "b=0.5", "75.0", "50.0"],
        ["tent", "defaults", "25.0", "25.0"],
    ]


def test_what_changed() -> None:
    changes = [
        Change("mixed", 8, "bn", 0.5, 0.75),
        Change("mixed", 8, "tent", 0.5, 0.45),
        Change("mixed", 8, "t3a", 1, 1),
    ]
    assert [line.split() for line in lines(change_table(changes))[2:]] == [
        ["mixed", "8", "bn", "50.0", "75.0", "+25.0"],
        ["mixed", "8", "tent", "50.0", "45.0", "-5.0", "worse"],
        ["mixed", "8", "t3a", "100.0", "100.0", "+0.0"],
    ]


def test_the_source_models_accuracy_is_in_every_title(make_cell: MakeCell) -> None:
    cells = [
        make_cell("source", "fog", [5], images=[10], stream=stream, batch_size=size)
        for stream, size in (("stationary", 10), ("batch-sizes", 1), ("batch-sizes", 8))
    ]
    cells.append(make_cell("source", "fog", [5], images=[10], stream="shifts", severity=1))
    cells.append(make_cell("source", PLAIN, [5], images=[10], stream="shifts"))
    cells += [make_cell("source", name, [5], images=[10], stream="shifts", severity=1) for name in CORRUPTIONS]
    titles = [lines(table)[0] for table in result_tables(Results({"validation_accuracy": 0.5}, ["source"], cells, []))]
    assert len(titles) == 4
    assert all(title.endswith(" (source model: 50.0 % on validation images)") for title in titles)


def test_losses_over_all_cells_are_summed_up_and_listed_on_request(make_cell: MakeCell) -> None:
    found = [
        make_cell(method, target, [right], images=[100])
        for method, rights in {"source": (50, 60), "bn": (45, 70), "tent": (50, 59)}.items()
        for target, right in zip(("fog", "night"), rights, strict=True)
    ]
    losses = harms(Results({}, ["source", "bn", "tent"], found, []).summaries())
    (whole,) = harm_tables(losses)
    title, _, bn, tent = lines(whole)
    assert title == "Lost to source over 2 cells (target x stream x batch size), in points"
    size = found[0].batch_size
    assert bn.split() == ["bn", "fog,", "stationary,", "batches", "of", str(size), "5.0", "50.0"]
    assert tent.split()[-2:] == ["1.0", "100.0"]
    _, every = harm_tables(losses, every_cell=True)
    assert [line.split() for line in lines(every)[2:]] == [
        ["stationary", str(size), "fog", "5.0", "0.0"],
        ["stationary", str(size), "night", "-10.0", "1.0"],
    ]
    assert harm_tables([]) == []
