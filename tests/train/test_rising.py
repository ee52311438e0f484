from __future__ import annotations

from pathlib import Path

import pytest

from gformer_cli.config import validate
from gformer_cli.files import append_json_line
from gformer_cli.settings import PretrainSettings
from gformer_cli.train.rising import logged, still_rising


def options(steps: int, patience: int | None) -> PretrainSettings:
    return validate({"pretrain": {"steps": steps, "patience": patience}}).pretrain


@pytest.mark.parametrize(
    ("accuracies", "rising"),
    [([0.2, 0.5, 0.8, 0.83], True), ([0.2, 0.5, 0.8, 0.81], False), ([0.2, 0.9, 0.8, 0.89], False)],
)
def test_without_patience_the_last_quarter_tells(accuracies: list[float], rising: bool) -> None:
    validations = list(zip((25, 50, 75, 100), accuracies, strict=True))
    assert still_rising(validations, options(100, None)) is rising


@pytest.mark.parametrize(
    ("held", "rising"),
    [([0.2, 0.5, 0.52, 0.53], True), ([0.2, 0.5, 0.503, 0.502], False), ([0.2, 0.5, 0.4, 0.4], False)],
)
def test_with_patience_the_last_validations_of_the_hold_tell(held: list[float], rising: bool) -> None:
    """The fall, here from step 80 on, says nothing."""
    validations = [*zip((20, 40, 60, 80), held, strict=True), (100, 0.9)]
    assert still_rising(validations, options(100, 2)) is rising


def test_training_that_patience_has_ended_was_not_rising() -> None:
    assert still_rising([(20, 0.2), (40, 0.5), (60, 0.5), (75, 0.9)], options(100, 1)) is False


def test_nothing_is_known_without_validations() -> None:
    assert still_rising([], options(100, 1)) is None


def test_the_log_is_read_for_one_model_and_past_a_crash(tmp_path: Path) -> None:
    log = tmp_path / "pretrain.jsonl"
    for model, step, accuracy in (("all", 2, 0.1), ("without-red", 2, 0.9), ("all", 4, 0.2), ("all", 4, 0.3)):
        append_json_line(log, {"model": model, "step": step, "validation_accuracy": accuracy})
    with log.open("a") as stream:
        stream.write('{"model": "all", "st')
    assert logged(log, "all") == [(2, 0.1), (4, 0.3)]
    assert logged(tmp_path / "none.jsonl", "all") == []
