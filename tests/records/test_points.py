from __future__ import annotations

from pathlib import Path

from gformer_cli.records.points import Point, read_points, write_table

JOURNAL = """{"model": "b", "step": 2, "loss": 0.5, "seconds": 1.0}
{"model": "a", "step": 4, "loss": 0.25}
{"model": "a", "step": 2, "loss": 0.75, "validation_accuracy": null}
{"model": "a", "step": 4, "loss": 0.125}
{"model": "a", "step": 6, "lo"""


def test_what_was_done_twice_counts_once_and_a_line_that_is_cut_off_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(JOURNAL)
    assert read_points(tmp_path / "log.jsonl") == [
        Point("a", 2, {"loss": 0.75}),
        Point("a", 4, {"loss": 0.125}),
        Point("b", 2, {"loss": 0.5, "seconds": 1.0}),
    ]
    assert read_points(tmp_path / "none.jsonl") == []


def test_a_table_has_a_column_for_every_figure(tmp_path: Path) -> None:
    write_table([Point("a", 1, {"loss": 0.5}), Point("b, c", 2, {"loss": 1.0, "x": 2.0})], tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text().splitlines() == ["model,step,loss,x", "a,1,0.5,", '"b, c",2,1.0,2.0']
