from __future__ import annotations

from typing import Any

import pytest

from gformer_cli.evaluate.trained import doubts, with_validation


def test_a_caption_gives_the_accuracy_on_validation_images() -> None:
    known = {"validation_accuracy": 0.6561, "still_rising": False}
    assert with_validation("Accuracy", known) == "Accuracy (source model: 65.6 % on validation images)"
    assert doubts(known) == []


@pytest.mark.parametrize("bundle", [{}, {"validation_accuracy": None, "still_rising": None}])
def test_nothing_is_said_where_nothing_is_known(bundle: dict[str, Any]) -> None:
    assert with_validation("Accuracy", bundle) == "Accuracy" and doubts(bundle) == []


@pytest.mark.parametrize("odd", ["high", float("nan"), [], True])
def test_results_that_say_something_else_are_not_believed(odd: Any) -> None:
    assert with_validation("Accuracy", {"validation_accuracy": odd}) == "Accuracy"


def test_a_model_that_was_still_rising_is_told() -> None:
    (told,) = doubts({"still_rising": True})
    assert "still rising" in told and "makes adapting look good" in told
