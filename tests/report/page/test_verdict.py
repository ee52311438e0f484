from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gformer_cli.evaluate.reading import Document
from gformer_cli.report.page.verdict import judge, preferred

MakeDocument = Callable[..., Document]


def by_method(**right: Any) -> Callable[[str, str, int], int]:
    """Right answers in ten by method: a number, or one by target."""

    def count(method: str, target: str, batch: int) -> int:
        found = right[method]
        return int(found[target] if isinstance(found, dict) else found)

    return count


def test_three_sentences_hold_the_figures(document: MakeDocument) -> None:
    found = judge(document(right=by_method(source=5, bn=6, gformer=8)))
    assert found.subject == "gformer" and found.warnings == []
    assert found.sentences == [
        "Adapting with gformer gains 30.0 points of accuracy on average over 2 targets (95 % interval +30.0 to +30.0): "
        "50.0 % as trained, 80.0 % adapted.",
        "No target loses; no batch has fewer right answers than without adapting.",
        "It costs 1.67 × a plain prediction; against bn, the best of the other methods, it stands at +20.0 "
        "[+20.0, +20.0] points.",
    ]


def test_a_loss_is_said_and_warned_of(document: MakeDocument) -> None:
    found = judge(document(right=by_method(source=6, bn=5, gformer=5)))
    assert found.sentences[0].startswith("Adapting with gformer loses 10.0 points")
    assert found.warnings[0] == "Not worth it here: on average gformer is no better than the model as trained."


def test_harm_on_one_target_is_named(document: MakeDocument) -> None:
    found = judge(document(right=by_method(source=6, bn=6, gformer={"fog": 9, "night": 5})))
    assert found.sentences[1].startswith("night loses 10.0 points, more than any other target; 50.0 % of batches have")
    assert "It does harm on night: 10.0 points are lost there." in found.warnings


def test_a_gain_that_may_be_nothing_is_doubted(document: MakeDocument) -> None:
    def right(method: str, target: str, batch: int) -> int:
        return 5 + (batch == 1 and method == "gformer")

    assert (
        "This measurement cannot tell the gain from nothing: the interval holds 0."
        in judge(document(right=right)).warnings
    )


def test_one_batch_tells_no_interval(document: MakeDocument) -> None:
    found = judge(document(targets=("fog",), batches=1, right=by_method(source=5, bn=5, gformer=8)))
    assert "on one target: 50.0 %" in found.sentences[0]
    assert "There was one batch only, so nothing tells how sure the gain is." in found.warnings


@pytest.mark.parametrize(("bn", "words"), [(9, "bn is more accurate here"), (8, "gformer cannot be told from bn here")])
def test_a_method_as_good_is_named(document: MakeDocument, bn: int, words: str) -> None:
    assert any(text.startswith(words) for text in judge(document(right=by_method(source=5, bn=bn, gformer=8))).warnings)


def test_other_streams_are_watched(document: MakeDocument) -> None:
    good = document(right=by_method(source=5, bn=5, gformer=8))
    bad = document(streams=("mixed",), right=by_method(source=5, bn=5, gformer=3))
    mixed = document(streams=("dynamic",), right=by_method(source=5, bn=5, gformer={"fog": 9, "night": 4}))
    both = replace(good, summaries=[*good.summaries, *bad.summaries, *mixed.summaries])
    assert judge(both).warnings == [
        "Worse than the model as trained, on average, on mixed in batches of 10 (-20.0 [-20.0, -20.0] points).",
        "A gain on average, but harm to one target, on dynamic in batches of 10 (10.0 points on night).",
    ]


def test_a_loss_on_average_is_not_called_a_gain(document: MakeDocument) -> None:
    good = document(right=by_method(source=5, bn=5, gformer=8))
    even = document(streams=("dynamic",), right=by_method(source=5, bn=5, gformer={"fog": 6, "night": 4}))
    (told,) = judge(replace(good, summaries=[*good.summaries, *even.summaries])).warnings
    assert told == ("No gain on average, and harm to one target, on dynamic in batches of 10 (10.0 points on night).")


def test_of_several_batch_sizes_the_worst_is_named(document: MakeDocument) -> None:
    good = document(right=by_method(source=5, bn=5, gformer=8))
    small, large = (
        document(
            streams=("batch-sizes",), sizes=(size,), right=by_method(source=5, bn=5, gformer={"fog": 9, "night": n})
        )
        for size, n in ((2, 3), (8, 4))
    )
    both = replace(good, summaries=[*good.summaries, *small.summaries, *large.summaries])
    (told,) = judge(both).warnings
    assert told.endswith("on batch-sizes in batches of 2 (20.0 points on night) and 1 other size.")


def test_which_method_a_page_is_about(document: MakeDocument) -> None:
    assert preferred(["source", "gformer", "bn"]) == "gformer"
    assert preferred(["source", "gformer-guard", "bn"]) == "gformer-guard"
    assert preferred(["source", "bn", "tent"]) == "tent"
    alone = judge(document(methods=("source",)))
    assert alone.subject == "source" and len(alone.sentences) == 1
