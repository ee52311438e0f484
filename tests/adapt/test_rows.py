from __future__ import annotations

import io
import tracemalloc
from array import array
from pathlib import Path
from typing import IO, Any

import pytest

from gformer_cli.adapt.rows import Row, Rows
from gformer_cli.errors import WorkError

CLASSES = 2000


def row(path: str, target: str = "north", label: str = "cat") -> Row:
    probabilities = array("f", (0.1, 1 / 3, 1.0 - 0.1 - 1 / 3))  # as float32 has them
    return Row(target, path, label, probabilities[1], 3, "dog", tuple(probabilities), "blended")


def test_rows_come_back_by_target_then_name_and_are_what_they_were(tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    given = [row("b.png"), row("a\udcff\n.png"), row("a.png"), row("0.png", "south", "dog")]
    for one in given[:3]:
        rows.add(one)
    rows.end_target()
    assert len(rows) == 3
    rows.add(given[3])
    rows.end_target()
    assert list(rows) == [given[2], given[1], given[0], given[3]] and list(rows) == list(rows)
    assert (rows.labels, rows.changed) == ({"cat": 3, "dog": 1}, 3)
    assert not list(tmp_path.iterdir())  # nothing is left behind, whenever it ends


def test_probabilities_are_left_out_on_request() -> None:
    rows = Rows(probabilities=False)
    rows.add(row("a.png"))
    rows.end_target()
    assert [one.probabilities for one in rows] == [()]


def test_memory_holds_no_probabilities() -> None:
    """500 rows of 2,000 classes are 36 MB as tuples of floats."""
    values = tuple(array("f", [1 / CLASSES] * CLASSES))
    rows = Rows()
    tracemalloc.start()
    for number in range(500):
        rows.add(Row("north", f"{number}.png", "cat", 0.5, 0, "cat", values))
    rows.end_target()
    assert sum(one.probabilities == values for one in rows) == 500
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    def make(**_options: Any) -> IO[bytes]:
        return Full()

    monkeypatch.setattr("tempfile.TemporaryFile", make)
    with pytest.raises(WorkError, match=r"cannot keep rows in .*: No space left on device"):
        Rows(tmp_path).end_target()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"cannot keep rows in .*gone: No such file"):
        Rows(tmp_path / "gone")
