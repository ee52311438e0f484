from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gformer_cli.adapt.estimates import Estimates
from gformer_cli.core.estimators import Inferences


def outcome(disagreements: Sequence[float] | None, *, target: str = "fog", missed: float | None = 0.0) -> Any:
    """Images whose mean predictions are even over two classes."""
    known = None
    if disagreements is not None:
        known = Inferences(torch.tensor(disagreements).double(), torch.full((len(disagreements), 2), 0.5).double())
    labels = torch.zeros(len(disagreements or (0,)), dtype=torch.long)
    return SimpleNamespace(target=target, labels=labels, inferred=known, missed=missed)


def estimates(*outcomes: Any) -> Estimates:
    made = Estimates()
    for one in outcomes:
        made(one)
    return made


def test_a_target_is_one_batch_whatever_its_batches() -> None:
    found = estimates(outcome([0.5, 0.0]), outcome([0.1]), outcome([0.3], target="night")).found()
    assert found["fog"].accuracy == pytest.approx(1.0 - 0.6 / 3.0) and found["fog"].images == 3
    assert found["night"].accuracy == pytest.approx(0.7)
    assert (found["night"].low, found["night"].high) == pytest.approx((0.7, 0.7)), "one image draws itself alone"


def test_the_interval_is_that_of_other_images_of_the_place() -> None:
    found = estimates(*[outcome([0.5] * 20 + [0.0] * 80) for _ in range(4)]).found()["fog"]
    # the mean disagreement of 400 images, of which a fifth has 0.5: a standard error of 0.5 sqrt(0.2 · 0.8 / 400)
    error = 0.5 * math.sqrt(0.2 * 0.8 / 400)
    assert found.accuracy == pytest.approx(0.9)
    assert (found.low, found.high) == pytest.approx((0.9 - 1.96 * error, 0.9 + 1.96 * error), abs=0.002)


def test_it_is_as_wide_as_the_estimator_was_off_on_source_images() -> None:
    off = estimates(outcome([0.5] * 4000, missed=0.05)).found()["fog"]
    assert (off.low, off.high) == pytest.approx((0.5 - 1.96 * 0.05, 0.5 + 1.96 * 0.05), abs=0.01)
    mixed = estimates(outcome([0.5] * 2000, missed=0.08), outcome([0.5] * 2000, missed=0.02)).found()["fog"]
    assert mixed.high - mixed.low == pytest.approx(off.high - off.low), "0.05 in the mean over images"
    sure = estimates(outcome([0.0] * 4000, missed=0.3)).found()["fog"]
    assert (sure.accuracy, sure.high) == (1.0, 1.0) and sure.low < 0.6


def test_processes_together_have_seen_what_one_would() -> None:
    batches = [outcome([0.5, 0.25], missed=0.02), outcome([0.0, 1.0]), outcome([0.75], target="night")]
    shares = [estimates(*batches[::2]), estimates(*batches[1::2])]
    assert Estimates.together(shares).found() == estimates(*batches).found()


@pytest.mark.parametrize("missing", [outcome(None), outcome([0.5], missed=None)])
def test_a_target_with_an_unknown_batch_has_no_estimate(missing: Any) -> None:
    seen = estimates(outcome([0.5]), missing, outcome([0.5], target="night"))
    assert set(seen.found()) == {"night"} and not seen.complete
    assert estimates(outcome([0.5])).complete


def test_figures_are_rounded_where_sums_may_differ() -> None:
    (found,) = estimates(outcome([1 / 3, 0.0])).found().values()
    assert found.to_json()["accuracy"] == 0.8333 and found.to_json()["images"] == 2
