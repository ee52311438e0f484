from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gformer_cli.compute.pace import LOOK_AGAIN, ROUNDS, SHARE, Pace, one_thread
from gformer_cli.compute.threads import Cores

LOOK = 2 * (ROUNDS + 1)


class Machine:
    """A clock, and how long a step takes on so many threads at a time."""

    def __init__(self, seconds: Callable[[int, float], float]) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.taken: list[int] = []

    def run(self, pace: Pace, steps: int, work: float = 1.0) -> list[int]:
        """Threads of each of `steps` steps."""
        for _ in range(steps):
            with pace.step(work):
                self.taken.append(torch.get_num_threads())
                self.now += work * self.seconds(torch.get_num_threads(), self.now)
        return self.taken[-steps:]


def make(machine: Machine, most: int = 4, **options: object) -> Pace:
    return Pace(most, clock=lambda: machine.now, **{"idle": lambda: False, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(("one", "all_", "best"), [(1.0, 0.5, 4), (0.5, 1.0, 1), (0.5, 0.5, 1)])
def test_the_faster_number_of_threads_is_taken(one: float, all_: float, best: int) -> None:
    machine = Machine(lambda threads, _: one if threads == 1 else all_)
    pace = make(machine)
    assert machine.run(pace, LOOK) == [4, 1] * (ROUNDS + 1)
    assert machine.run(pace, 10) == [best] * 10


def test_the_first_step_on_another_number_of_threads_is_not_counted() -> None:
    machine = Machine(lambda threads, _: 1.0 if threads == 1 else 0.5 if len(machine.taken) > 1 else 100.0)
    pace = make(machine)
    machine.run(pace, LOOK)
    assert pace.threads == 4


def test_steps_of_different_size_are_compared_by_their_work() -> None:
    machine = Machine(lambda threads, _: 1.0 if threads == 1 else 0.5)
    pace = make(machine)
    for step in range(LOOK):
        machine.run(pace, 1, work=10.0 if step % 2 == 0 else 1.0)  # those on all threads have more to do
    assert pace.threads == 4


def test_it_is_looked_again_and_that_costs_little() -> None:
    machine = Machine(lambda threads, now: (1.0 if threads == 1 else 0.5) if now < 300 else 0.5 * threads)
    pace = make(machine)
    machine.run(pace, LOOK)
    taken = machine.run(pace, 500)
    assert taken.count(1) / len(taken) <= 2 * SHARE
    machine.run(pace, 800)
    assert pace.threads == 1  # something else began to run at 300 s


def test_steps_that_grow_slower_are_looked_at_before_their_time() -> None:
    busy = [False]
    machine = Machine(lambda threads, _: 0.10 if threads == 1 else 0.5 if busy[0] else 0.06)
    pace = make(machine)
    machine.run(pace, LOOK)
    machine.run(pace, round(0.3 * LOOK_AGAIN / 0.06))
    busy[0], before = True, machine.now
    while pace.threads != 1 and machine.now - before < LOOK_AGAIN:
        machine.run(pace, 1)
    machine.run(pace, LOOK)
    assert pace.threads == 1
    assert machine.now - before < LOOK_AGAIN / 2


def test_on_an_idle_machine_it_starts_on_all_threads_without_a_look() -> None:
    machine = Machine(lambda threads, _: 1.0 if threads == 1 else 0.5)
    pace = make(machine, idle=lambda: True)
    assert machine.run(pace, 30) == [4] * 30
    machine.run(pace, 60)
    assert 1 in machine.taken


@pytest.mark.parametrize(("most", "fixed"), [(4, True), (1, False)])
def test_a_fixed_number_and_a_single_core_are_never_varied(most: int, fixed: bool) -> None:
    machine = Machine(lambda _threads, _now: 10.0)
    chosen: list[int] = []
    pace = make(machine, most, fixed=fixed, chosen=chosen.append)
    assert machine.run(pace, 50) == [most] * 50
    assert chosen == [most]


def test_choices_are_told() -> None:
    machine = Machine(lambda threads, _: 1.0 if threads == 1 else 0.5)
    chosen: list[int] = []
    machine.run(make(machine, chosen=chosen.append), LOOK)
    assert chosen == [4]


def test_cores_that_the_user_fixed_are_not_varied() -> None:
    machine = Machine(lambda _threads, _now: 1.0)
    assert machine.run(Pace.of(Cores(2, True, "--threads")), 20) == [2] * 20


def test_a_step_that_fails_is_not_counted() -> None:
    machine = Machine(lambda threads, _: 1.0 if threads == 1 else 0.5)
    pace = make(machine)
    with pytest.raises(ValueError, match="broken"), pace.step():
        raise ValueError("broken")
    machine.run(pace, LOOK)
    assert pace.threads == 4


def test_what_runs_on_one_thread_leaves_the_number_as_it_was() -> None:
    torch.set_num_threads(2)
    with pytest.raises(ValueError, match="broken"), one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("broken")
    assert torch.get_num_threads() == 2
