from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gformer_cli.errors import InputError
from gformer_cli.train.run_folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_checkpoints_survive_the_round_trip_and_can_be_dropped(run: RunFolder) -> None:
    assert run.checkpoint("pretrain").load() is None and not run.checkpoint("pretrain").exists
    run.checkpoint("pretrain").save({"step": 3, "model": {"w": torch.arange(4)}, "best": 0.5})
    assert run.checkpoint("pretrain").exists and not run.checkpoint("another").exists
    found = run.checkpoint("pretrain").load()
    assert found is not None and found["step"] == 3 and found["best"] == 0.5
    assert torch.equal(found["model"]["w"], torch.arange(4))
    run.drop_checkpoints()
    assert run.checkpoint("pretrain").load() is None and not run.checkpoints.exists()
    run.drop_checkpoints()


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path, run: RunFolder) -> None:
    run.checkpoint("pretrain").save({"payload": Payload(tmp_path / "touched")})
    with pytest.raises(InputError, match="cannot use checkpoint"):
        run.checkpoint("pretrain").load()
    assert not (tmp_path / "touched").exists()


BROKEN = {"weight": torch.tensor([1.0, float("inf")])}


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({"step": 3, "network": BROKEN}, "weight holds values that are not finite"),
        ({"step": 3, "best_state": BROKEN}, "weight holds values that are not finite"),
        ({"step": -1}, "no state of training"),
        ({"network": {}}, "no state of training"),
        ([1, 2], "no state of training"),
    ],
)
def test_a_checkpoint_that_cannot_be_gone_on_from_is_refused(run: RunFolder, state: Any, match: str) -> None:
    run.checkpoint("all").save(state)
    with pytest.raises(InputError, match=match) as caught:
        run.checkpoint("all").load()
    assert "--overwrite" in caught.value.hint
