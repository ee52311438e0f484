from __future__ import annotations

from gformer_cli.compute.launched import Seat, seat


def test_a_process_is_alone_unless_torchrun_has_started_it() -> None:
    assert seat({}) == Seat(rank=0, size=1, local=0)
    # a batch system's own variables, or another launcher's, say nothing of torch's processes
    assert seat({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}) == Seat()
    told = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}
    assert seat(told) == Seat(rank=3, size=8, local=1)
