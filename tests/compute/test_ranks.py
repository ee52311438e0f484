from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gformer_cli.compute import ranks
from gformer_cli.compute.ranks import Agreed
from gformer_cli.progress import Silent, StopRequest

PROGRAM = """
import json, sys
import torch
from gformer_cli.compute import launched, ranks
from gformer_cli.progress import StopRequest

ranks.join(launched.seat())
own = StopRequest()
own.requested = ranks.rank() == 2
agreed = ranks.Agreed(own)
found = {
    "sum": ranks.summed(torch.tensor([1.0, float(ranks.rank())])).tolist(),
    "from first": ranks.from_first(lambda: f"made by {ranks.rank()}"),
    "together": ranks.together(
        ranks.fair_shares([1, 9, 2, 8, 3]), [10 * place for place in ranks.fair_shares([1, 9, 2, 8, 3])[ranks.rank()]]
    ),
    "mine": ranks.gathered(list(ranks.mine(range(7)))),
    "in order": ranks.in_order(ranks.gathered(ranks.mine("abcdefg"))),
    "to first": ranks.from_first(lambda told=ranks.to_first(ranks.rank()): told),
    "agreed": [agreed.requested, agreed.agree(), agreed.requested],
}
everyone = ranks.gathered(found)
if ranks.first():
    open(sys.argv[1], "w").write(json.dumps(everyone))
ranks.leave()
"""


@pytest.mark.slow
def test_three_processes_tell_each_other(tmp_path: Path) -> None:
    program, out = tmp_path / "program.py", tmp_path / "out.json"
    program.write_text(PROGRAM)
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3"]
    subprocess.run([*launched, program, out], check=True, timeout=240)
    everyone = json.loads(out.read_text())
    assert len(everyone) == 3 and everyone[0] == everyone[1] == everyone[2]
    assert everyone[0] == {
        "sum": [3.0, 3.0],
        "from first": "made by 0",
        "together": [0, 10, 20, 30, 40],
        "mine": [[0, 3, 6], [1, 4], [2, 5]],
        "in order": list("abcdefg"),
        "to first": [0, 1, 2],
        "agreed": [False, True, True],  # one was asked: all stop, and at the same moment
    }


def test_alone_each_call_is_what_one_process_does() -> None:
    tensor = torch.ones(2)
    assert ranks.summed(tensor) is tensor and tensor.tolist() == [1.0, 1.0]
    assert ranks.from_first(lambda: 3) == 3
    assert ranks.gathered("x") == ["x"]
    assert list(ranks.mine("abc")) == ["a", "b", "c"]
    assert ranks.first() and (ranks.rank(), ranks.size()) == (0, 1)
    own = StopRequest()
    request = Agreed(own)
    own.requested = True
    assert request.requested is False and request.agree() is True and request.requested is True


def test_more_processes_than_work_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def warning(self, text: str) -> None:
            self.lines.append(text)

    told = Told()
    monkeypatch.setattr(ranks, "size", lambda: 4)
    ranks.tell_idle(4, "models to train: 4", told)
    assert told.lines == []
    ranks.tell_idle(3, "models to train: 3", told)
    assert told.lines == ["1 of 4 processes will wait for the others: models to train: 3"]


def test_fair_shares_cost_about_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ranks.fair_shares([5, 1, 3]) == [[0, 1, 2]]
    monkeypatch.setattr(ranks, "size", lambda: 2)
    assert ranks.fair_shares([64, 8, 64, 8, 8]) == [[0, 1, 4], [2, 3]]  # every second one would give 136 and 16
    assert ranks.fair_shares([7]) == [[0], []]
    assert ranks.fair_shares([1, 2, 3, 4]) == [[0, 3], [1, 2]]
