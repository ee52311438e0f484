from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gformer_cli.compute.crew import Alone, Asked, Crew, Line, Processes, map_in_order
from gformer_cli.errors import InputError, WorkError


class Scales:
    """A worker that weighs, in whichever process it is built."""

    def __init__(self, line: Line | None, unit: float) -> None:
        self.line = line
        self.unit = unit


def weigh(scales: Scales, weight: torch.Tensor) -> torch.Tensor:
    return scales.unit * weight


def where(_scales: Scales) -> tuple[int, int]:
    return os.getpid(), torch.get_num_threads()


def refuse(_scales: Scales) -> None:
    raise InputError("no weights", "Bring some.")


def die(_scales: Scales) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_the_end(scales: Scales) -> str:
    assert scales.line is not None
    stop = Asked(scales.line)
    scales.line.say("waiting")
    while not stop.requested:
        time.sleep(0.01)
    return "ended"


def meet(scales: Scales, folder: Path) -> int:
    """The number of this worker, once another one is here as well."""
    assert scales.line is not None
    (folder / str(os.getpid())).touch()
    while len(list(folder.iterdir())) < 2:
        time.sleep(0.01)
    return scales.line.number


@pytest.fixture
def processes() -> Iterator[Processes[Scales]]:
    with Processes(2, 1, Scales, 2.0) as crew:
        yield crew


@pytest.mark.slow
def test_a_crew_of_processes_does_what_one_alone_does(processes: Processes[Scales]) -> None:
    weights = [(torch.full((3,), float(n)),) for n in range(7)]
    crews: list[Crew[Scales]] = [Alone(Scales(None, 2.0)), processes]
    alone, shared = (map_in_order(crew, weigh, weights) for crew in crews)
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))
    assert [float(found[0]) for found in shared] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]


def test_processes_are_others_and_use_as_many_threads_as_they_are_told(processes: Processes[Scales]) -> None:
    process, threads = processes.submit(where).result()
    assert process != os.getpid() and threads == 1
    with Processes(1, 2, Scales, 1.0) as crew:
        assert crew.submit(where).result()[1] == 2


def test_errors_come_back_with_their_hints(processes: Processes[Scales]) -> None:
    with pytest.raises(InputError) as told:
        processes.submit(refuse).result()
    assert told.value.hint == "Bring some."
    with pytest.raises(InputError):
        Alone(Scales(None, 1.0)).submit(refuse)


def test_a_killed_process_is_told_with_what_to_do(processes: Processes[Scales]) -> None:
    with pytest.raises(WorkError, match="killed") as told:
        processes.submit(die).result()
    assert "--threads 1" in told.value.hint
    with pytest.raises(WorkError, match="killed"):
        processes.submit(where).result()


def test_workers_say_what_they_do_and_end_when_they_are_asked(processes: Processes[Scales]) -> None:
    future = processes.submit(wait_for_the_end)
    deadline, said = time.monotonic() + 60, []
    while not said and time.monotonic() < deadline:
        said = processes.notes()
        time.sleep(0.01)
    assert said == ["waiting"] and not future.done()
    processes.stop()
    assert future.result(timeout=60) == "ended"


def test_each_worker_has_a_number_of_its_own(processes: Processes[Scales], tmp_path: Path) -> None:
    assert sorted(map_in_order(processes, meet, [(tmp_path,), (tmp_path,)])) == [0, 1]
