from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gformer_cli.adapt import AdaptResult, Row, Rows, adapt, check_output, write_rows
from gformer_cli.allocator import KeptMemory
from gformer_cli.bundle import Bundle
from gformer_cli.errors import InputError
from gformer_cli.folders.domains import Domain

CPU = torch.device("cpu")
ROWS = [
    Row("north", "a.png", "cat", 0.9, 0, "dog", (0.9, 0.1)),
    Row("north", 'b,"1"\n.png', "cat", 0.75, 0, "cat", (0.75, 0.25), "blended"),
    Row("south", "c.png", "dog", 2 / 3, 1, "dog", (1 / 3, 2 / 3)),
]


@pytest.fixture
def run(bundle: Bundle, domains: list[Domain]) -> Callable[..., AdaptResult]:
    def call(order: str = "shuffle", batch_size: int = 4, chosen: list[Domain] | None = None) -> AdaptResult:
        return adapt(bundle, chosen or domains, batch_size=batch_size, order=order, seed=0, device=CPU, workers=0)

    return call


def test_counts_and_changes() -> None:
    rows = Rows()
    for row in ROWS:
        rows.add(row)
    assert list(AdaptResult(rows, 2, []).counts().items()) == [("cat", 2), ("dog", 1)]
    assert AdaptResult(rows, 2, []).changed == 1


def test_csv_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", ROWS, ["cat", "dog"], probabilities=True, name_targets=True)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [
        "path",
        "label",
        "confidence",
        "batch",
        "source_label",
        "decision",
        "target",
        "probability:cat",
        "probability:dog",
    ]
    assert rows[2] == ['b,"1"\n.png', "cat", "0.75", "0", "cat", "blended", "north", "0.750000", "0.250000"]
    assert rows[3][2] == "0.666667"


def test_json_lines(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", ROWS, ["cat", "dog"], probabilities=False, name_targets=False)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "path": "a.png",
        "label": "cat",
        "confidence": 0.9,
        "batch": 0,
        "source_label": "dog",
        "decision": "generated",
    }
    assert lines[1]["path"] == 'b,"1"\n.png'


@pytest.mark.slow
def test_each_image_has_one_row_and_batches_are_full_but_the_last(run: Callable[..., AdaptResult]) -> None:
    result = run()
    assert len(result.rows) == len({row.path for row in result.rows}) == 30
    sizes = [sum(row.batch == batch for row in result.rows) for batch in range(result.batches)]
    assert sizes == [4, 4, 2] * 3
    assert len({(row.batch, row.target) for row in result.rows}) == result.batches


def test_a_batch_is_predicted_alike_whatever_came_before(
    run: Callable[..., AdaptResult], domains: list[Domain]
) -> None:
    alone = run(chosen=[domains[2]]).rows
    after_others = [row for row in run().rows if row.target == domains[2].name]
    assert [row.probabilities for row in alone] == [row.probabilities for row in after_others]


def test_memory_that_was_kept_is_given_back_between_batches(
    run: Callable[..., AdaptResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[None] = []
    monkeypatch.setattr(KeptMemory, "give_back_if_due", lambda _self: asked.append(None))
    assert run().batches == len(asked) > 1


def test_the_bundle_is_not_written_to(run: Callable[..., AdaptResult], bundle: Bundle) -> None:
    tensors = [*bundle.backbone.state_dict().values(), *bundle.model.state_dict().values()]
    before = [tensor.clone() for tensor in tensors]
    run()
    assert all(torch.equal(a, b) for a, b in zip(tensors, before, strict=True))


def test_shuffling_mixes_the_classes_of_a_batch(run: Callable[..., AdaptResult]) -> None:
    def classes(order: str) -> list[int]:
        rows = run(order=order, batch_size=5).rows
        return [len({row.path.split("/")[-2] for row in rows if row.batch == batch}) for batch in range(6)]

    assert classes("name") == [1] * 6
    assert max(classes("shuffle")) == 2


@pytest.mark.parametrize("name", ["a.txt", "a", ".csv"])
def test_a_suffix_that_is_not_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot tell the format"):
        check_output(tmp_path / name, overwrite=False)


def test_a_folder_in_the_place_of_the_file_is_refused_even_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path / "a.csv", overwrite=True)
