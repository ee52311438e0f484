"""The caution that is set on held-out tasks."""

from __future__ import annotations

import pytest
import torch

from benchmarks.universal.calibrate import average, least_caution, risk_bound
from gformer_cli.core.generators import ChannelGenerator


def test_the_bound_by_hand() -> None:
    assert risk_bound([0.0, 3.0, 1.0], 20.0) == 6.0
    assert risk_bound([], 20.0) == 20.0


@pytest.mark.parametrize(
    ("risk", "chosen"),
    [
        (5.0, -1.0),
        (2.5, 0.0),  # what is worse at more caution is no reason to take less
        (1.0, 2.0),
        (0.1, 2.0),  # nothing is safe enough: the most that there is
    ],
)
def test_caution_is_the_least_from_which_on_the_bound_holds(risk: float, chosen: float) -> None:
    assert least_caution({-1.0: 4.0, 0.0: 2.0, 1.0: 2.2, 2.0: 0.5}, risk) == chosen


def test_the_average_of_generators_is_that_of_their_weights() -> None:
    torch.manual_seed(0)
    three = [ChannelGenerator(width=8, depth=1, heads=2, channel_width=4, trusts=True) for _ in range(3)]
    three[1].get_buffer("caution").fill_(3.0)
    wanted = {name: sum(one.state_dict()[name].clone() for one in three) / 3.0 for name in three[0].state_dict()}
    average(three[0], three[1:])
    for name, tensor in three[0].state_dict().items():
        torch.testing.assert_close(tensor, torch.as_tensor(wanted[name]))
    assert three[0].get_buffer("caution").item() == 1.0
