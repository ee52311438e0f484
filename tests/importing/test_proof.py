from __future__ import annotations

from collections import Counter

import pytest

from gformer_cli.errors import WorkError
from gformer_cli.importing.proof import Confusion, Proof, accuracy_of

CLASSES = ["cat", "dog", "hen", "owl"]


def _proof(*counts: tuple[int, int, int]) -> Proof:
    """Of one domain; `counts` are class, answer, images."""
    confusion: Confusion = Counter({(i, j): count for i, j, count in counts})
    return Proof(CLASSES, {"site": confusion}, [])


def test_accuracy_counts_images_not_domains_or_classes() -> None:
    proof = Proof(CLASSES, {"a": Counter({(0, 0): 8, (0, 1): 2}), "b": Counter({(1, 1): 30})}, [])
    assert proof.images == 40
    assert proof.accuracy == pytest.approx(38 / 40)
    assert accuracy_of(proof.domains["a"]) == pytest.approx(0.8)
    assert proof.by_class() == {"cat": (10, 0.8), "dog": (30, 1.0)}


def test_a_good_model_is_not_suspected() -> None:
    assert _proof((0, 0, 9), (0, 1, 1), (1, 1, 8), (2, 2, 8), (3, 3, 8)).suspicion() is None


def test_two_swapped_classes_are_found_among_good_ones() -> None:
    told = _proof((0, 1, 9), (0, 0, 1), (1, 0, 10), (2, 2, 10), (3, 3, 10)).suspicion()
    assert told is not None
    assert "'cat' is read as 'dog', 'dog' is read as 'cat'" in told
    assert "97.5 % would be right" in told


def test_an_order_that_is_rotated_is_found() -> None:
    told = _proof(*((i, (i + 1) % 4, 10) for i in range(4))).suspicion()
    assert told is not None
    assert "100.0 % would be right" in told and "and 1 more" in told


def test_a_swap_with_a_class_of_which_there_is_no_image_is_found() -> None:
    told = _proof((0, 1, 10), (2, 2, 10)).suspicion()
    assert told is not None and "'cat' is read as 'dog'" in told


def test_a_class_that_looks_like_another_is_no_other_order() -> None:
    assert _proof((0, 1, 9), (0, 0, 1), (1, 1, 10), (2, 2, 10), (3, 3, 10)).suspicion() is None


def test_one_answer_to_everything_is_guessing_and_no_other_order() -> None:
    told = _proof(*((i, 0, 10) for i in range(4))).suspicion()
    assert told is not None
    assert "25.0 % is little better than guessing among 4 classes" in told


def test_chance_is_that_of_the_classes_that_are_there() -> None:
    assert _proof((0, 0, 6), (0, 1, 4), (1, 1, 5), (1, 0, 5)).suspicion() is not None  # 55 % of two
    assert (
        _proof((0, 0, 5), (0, 1, 5), (1, 1, 5), (1, 2, 5), (2, 2, 5), (2, 3, 5), (3, 3, 5), (3, 0, 5)).suspicion()
        is None
    )


@pytest.mark.parametrize(
    ("expected", "held"), [(0.8, True), (0.802, True), (0.798, True), (0.8021, False), (0.75, False)]
)
def test_an_expected_accuracy_holds_within_two_thousandths(expected: float, held: bool) -> None:
    proof = _proof((0, 0, 80), (0, 1, 20))
    if held:
        proof.require(expected)
        return
    with pytest.raises(WorkError, match=r"right on 0\.8000 of 100 images, and --expect says"):
        proof.require(expected)


def test_what_is_unexpected_is_told_with_what_it_suggests() -> None:
    with pytest.raises(WorkError) as told:
        _proof((0, 1, 10), (1, 0, 10)).require(1.0)
    assert "'cat' is read as 'dog'" in told.value.hint


def test_one_misread_image_of_a_class_is_no_other_order() -> None:
    confusion: Confusion = Counter({(i, i): 1 for i in range(2, 30)})
    confusion.update({(0, 35): 1, (1, 0): 1})  # of class 35 there is no image
    proof = Proof([f"c{number}" for number in range(40)], {"site": confusion}, [])
    assert proof.suspicion() is None


def test_many_classes_of_few_images_show_another_order_together() -> None:
    confusion: Confusion = Counter({(i, (i + 1) % 10): 2 for i in range(10)})
    told = Proof([f"c{number}" for number in range(10)], {"site": confusion}, []).suspicion()
    assert told is not None and "100.0 % would be right" in told
