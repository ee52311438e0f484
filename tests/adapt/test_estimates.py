from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gformer_cli.adapt.estimates import Estimates, choose
from gformer_cli.bundle import Bundle, EstimatorsHeader, TemperaturesHeader
from gformer_cli.core.estimators import Fitted, Inferences


def outcome(errors: Sequence[float] | None, *, target: str = "fog", missed: float = 0.0) -> Any:
    """Disagreements of images whose mean predictions are even over two classes."""
    known = None
    if errors is not None:
        known = Inferences(torch.tensor(errors).double(), torch.full((len(errors), 2), 0.5).double())
    labels = torch.zeros(len(errors or (0,)), dtype=torch.long)
    fitted = Fitted(0.7, -0.5, 0.5, {"aetta": missed})
    return SimpleNamespace(target=target, labels=labels, inferred=known, fitted=fitted)


def sure(confidences: Sequence[float], *, missed: float = 0.0) -> Any:
    """Answers to two classes, of a file that shows no features."""
    probable = torch.tensor([[value, 1.0 - value] for value in confidences])
    fitted = Fitted(0.7, -0.5, 0.5, dict.fromkeys(("confidence", "atc_confidence", "atc_entropy"), missed))
    labels = torch.zeros(len(confidences), dtype=torch.long)
    return SimpleNamespace(target="fog", labels=labels, inferred=None, fitted=fitted, probabilities=probable)


def estimates(*outcomes: Any, estimator: str = "aetta") -> Estimates:
    made = Estimates(estimator)
    for one in outcomes:
        made(one)
    return made


def test_a_target_is_one_batch_whatever_its_batches() -> None:
    found = estimates(outcome([0.5, 0.0]), outcome([0.1]), outcome([0.3], target="night")).found()
    assert found["fog"].accuracy == pytest.approx(1.0 - 0.6 / 3.0) and found["fog"].images == 3
    assert found["night"].accuracy == pytest.approx(0.7)
    assert found["night"].low == 0.5 and found["night"].high > 0.9, "one image says little but that chance is exceeded"


def test_the_interval_is_that_of_other_images_of_the_place() -> None:
    found = estimates(*[outcome([0.5] * 20 + [0.0] * 80) for _ in range(4)]).found()["fog"]
    assert found.accuracy == pytest.approx(0.9)
    # of 404 images 80 have an error of 0.5, and two one of 1
    mean, square = (80 * 0.5 + 2) / 404, (80 * 0.25 + 2) / 404
    error = math.sqrt((square - mean**2) / 404)
    assert (found.low, found.high) == pytest.approx((1 - mean - 1.96 * error, 1 - mean + 1.96 * error), abs=0.002)


def test_it_is_as_wide_as_the_estimator_was_off_on_source_images() -> None:
    off = estimates(outcome([0.5] * 4000, missed=0.05)).found()["fog"]
    assert (off.low, off.high) == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=0.01)
    mixed = estimates(outcome([0.5] * 2000, missed=0.08), outcome([0.5] * 2000, missed=0.02)).found()["fog"]
    assert mixed.high - mixed.low == pytest.approx(off.high - off.low), "0.05 in the mean over images"
    all_right = estimates(outcome([0.0] * 4000, missed=0.3)).found()["fog"]
    assert (all_right.accuracy, all_right.high) == (1.0, 1.0) and all_right.low < 0.6


def test_processes_together_have_seen_what_one_would() -> None:
    batches = [outcome([0.5, 0.25], missed=0.02), outcome([0.0, 1.0]), outcome([0.75], target="night")]
    shares = [estimates(*batches[::2]), estimates(*batches[1::2])]
    together = Estimates.together(shares)
    assert together is not None and together.found() == estimates(*batches).found()


def test_a_target_with_an_unknown_batch_has_no_estimate() -> None:
    seen = estimates(outcome([0.5]), outcome(None), outcome([0.5], target="night"))
    assert set(seen.found()) == {"night"}
    assert set(Estimates.together([seen, estimates(outcome([0.5]))]).found()) == {"night"}  # type: ignore[union-attr]
    assert Estimates.together([None, None]) is None


@pytest.mark.parametrize(
    ("estimator", "accuracy"), [("confidence", 0.8), ("atc_confidence", 0.75), ("atc_entropy", 0.5)]
)
def test_others_guess_by_probabilities(estimator: str, accuracy: float) -> None:
    found = estimates(sure([0.9, 0.9]), sure([0.75, 0.65]), estimator=estimator).found()["fog"]
    assert found.accuracy == pytest.approx(accuracy, abs=1e-6)
    assert found.low < accuracy < found.high


def test_the_estimator_is_the_one_that_was_off_least_on_source_images(bundle: Bundle) -> None:
    sides = {"confidence": 0.9, "entropy": -1.0, "dropout": 0.5, "accuracy": 0.5}
    off = {"confidence": 0.1, "atc_confidence": 0.05, "atc_entropy": 0.06, "aetta": 0.04}
    others = dict.fromkeys(off, 0.0) | {"aetta": 0.2}
    fitted = {"source": EstimatorsHeader(**sides, missed=others), "adapted": EstimatorsHeader(**sides, missed=off)}
    said = TemperaturesHeader(source=1.0, adapted=1.0, images=1, estimators=fitted)
    before, bundle.header = bundle.header, bundle.header.model_copy(update={"temperatures": said})
    assert choose(bundle) == "aetta"
    graph = SimpleNamespace(estimators=bundle.estimators)  # an exported file
    assert choose(graph) == "atc_confidence"  # type: ignore[arg-type]
    bundle.set_temperature(2.0)
    assert choose(bundle) is None
    bundle.header = before


def test_figures_are_rounded_where_sums_may_differ() -> None:
    (found,) = estimates(outcome([1 / 3, 0.0, 0.0])).found().values()
    assert found.to_json()["accuracy"] == 0.889 and found.to_json()["images"] == 3
