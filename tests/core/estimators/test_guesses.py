from __future__ import annotations

import pytest
import torch

from gformer_cli.core.estimators import (
    ESTIMATORS,
    Classified,
    Dropout,
    Fitted,
    Guesses,
    Inferences,
    expected_error,
    infer,
    inferred,
)

SURE = torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
LESS = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
HEAD = Classified(torch.tensor([[1.0, 2.0], [3.0, 0.5]]), torch.eye(2), torch.zeros(2))


def test_a_guess_is_of_all_images_whatever_their_batches() -> None:
    fitted = Fitted(confidence=0.7, entropy=-0.68, dropout=0.5)
    first = Inferences(torch.tensor([0.5, 0.0]).double(), SURE)
    second = Inferences(torch.tensor([1.0]).double(), LESS)
    guesses = Guesses()
    guesses.add(SURE, fitted, first)
    guesses.add(LESS, fitted, second)
    found = guesses.estimates()
    assert tuple(found) == ESTIMATORS
    assert found["confidence"] == pytest.approx(2.0 / 3.0)
    assert found["atc_confidence"] == pytest.approx(1.0 / 3.0)
    assert found["atc_entropy"] == pytest.approx(2.0 / 3.0)  # -0.325, -0.673 and -0.693
    mean = torch.tensor([1.8, 1.2]).double() / 3.0
    assert found["aetta"] == pytest.approx(1.0 - expected_error(0.5, mean))
    assert Guesses().estimates() == {}


def test_what_cannot_be_had_of_every_batch_is_left_out() -> None:
    fitted, both = Fitted(0.7, -0.5, 0.5), Inferences(torch.zeros(2).double(), SURE)
    for batches in ((both, None), (None, both)):
        guesses = Guesses()
        for one in batches:
            guesses.add(SURE, fitted, one)
        assert set(guesses.estimates()) == {"confidence", "atc_confidence", "atc_entropy"}
    bare = Guesses()
    bare.add(SURE, None, None)
    assert set(bare.estimates()) == {"confidence"}


def test_dropout_infers_where_a_head_answered_and_a_rate_is_known() -> None:
    found = inferred(HEAD, Fitted(0.7, -0.5, 0.5), Dropout(0))
    assert found is not None
    assert found.means.equal(infer(HEAD, Dropout(0), 0.5).means)
    assert inferred(HEAD, Fitted(0.7, -0.5, None), Dropout(0)) is None
    assert inferred(None, Fitted(0.7, -0.5, 0.5), Dropout(0)) is None
    assert inferred(HEAD, None, Dropout(0)) is None
