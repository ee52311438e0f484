from __future__ import annotations

import math

import pytest

from gformer_cli.core.estimators import Fitted, missed


def test_of_blended_parameters_it_lies_between_the_two() -> None:
    one, other = Fitted(0.5, -0.4, 0.2, {"aetta": 0.01, "confidence": 0.1}), Fitted(0.9, -0.2, 0.6, {"aetta": 0.05})
    half = one.towards(other, 0.25)
    assert (half.confidence, half.entropy, half.dropout) == pytest.approx((0.6, -0.35, 0.3))
    assert half.missed == {"aetta": pytest.approx(0.02)}
    assert Fitted(0.5, -0.4, None).towards(other, 0.25).dropout is None


def test_an_estimator_is_off_by_what_chance_does_not_explain() -> None:
    # guessed 0.7 of 100 and of 50 images; 50 and 40 are right: (0.2² + 0.1² - 0.25 / 100 - 0.16 / 50) / 2
    wanted = math.sqrt((0.04 + 0.01 - 0.0025 - 0.0032) / 2)
    assert missed([0.7, 0.7], [100, 50], [50, 40]) == pytest.approx(wanted, abs=5e-5)
    assert missed([0.7, 0.7], [100, 50], [70, 35]) == 0.0, "no more than chance"
