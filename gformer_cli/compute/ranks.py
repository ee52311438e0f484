"""What processes that torchrun has started need of each other. In a process alone, each call is what one process does.

Processes have a number each, their rank. The first one writes and prints. What they tell each other goes through
`torch.distributed`: gloo on CPUs, NCCL on GPUs.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from gformer_cli.compute.launched import Seat
from gformer_cli.errors import GformerError, WorkError
from gformer_cli.progress import Progress, StopRequest, stoppable

Value = TypeVar("Value")
PATIENCE = timedelta(minutes=30)
"""A process that has not come to where the others wait for it by then is given up. One that has ended is noticed at
once."""
_COURTESY = 1.0
"""Seconds that an error of another process waits for the first one to have the same."""
_GRACE = 15.0
"""Seconds in which whoever started the processes ends those that have lost one, and says which it was."""
_TOLD = "gformer/told"
_store: Any = None
"""Where the processes have met."""


class Lost(WorkError):
    """Another process has gone."""

    awaited = False
    """Whether this one was asked to stop, too: whoever asked knows why."""


def join(seat: Seat) -> None:
    """Meet the other processes. Raises `WorkError` where they do not come."""
    global _store
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        _store, _, _ = next(rendezvous("env://", timeout=PATIENCE))
        dist.init_process_group(backend, store=_store, rank=seat.rank, world_size=seat.size, timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise WorkError(
            f"process {seat.rank} of {seat.size} cannot meet the others: {str(error).splitlines()[0]}",
            "Look at torchrun's --rdzv-endpoint, and whether the machines reach each other.",
        ) from error


def leave() -> None:
    """Part from the others; nothing where there are none."""
    if dist.is_initialized():
        with suppress(RuntimeError):
            dist.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """How many processes work together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def first() -> bool:
    """Whether this process is the one that writes and prints."""
    return rank() == 0


def mine(items: Sequence[Value]) -> Sequence[Value]:
    """Every size-th of `items`, from the rank-th on: this process's share."""
    return items[rank() :: size()]


def fair_shares(costs: Sequence[int]) -> list[list[int]]:
    """The pieces of work of each process, by their numbers, so that all have about as much of the `costs`.

    Each piece, the dearest first, goes to who has least. The same in every process.
    """
    spent, shares = [0] * size(), [list[int]() for _ in range(size())]
    for number in sorted(range(len(costs)), key=lambda number: -costs[number]):
        least = spent.index(min(spent))
        spent[least] += costs[number]
        shares[least].append(number)
    return [sorted(share) for share in shares]


def together(shares: Sequence[Sequence[int]], own: Sequence[Value]) -> list[Value]:
    """What all processes have made of their `fair_shares`, in the order of the pieces; this one gives its `own`."""
    found = {
        number: value
        for share, values in zip(shares, gathered(own), strict=True)
        for number, value in zip(share, values, strict=True)
    }
    return [found[number] for number in sorted(found)]


def tell_idle(pieces: int, why: str, progress: Progress) -> None:
    """Warn where there are more processes than `pieces` of work at a time."""
    idle = size() - pieces
    if idle > 0:
        progress.warning(f"{idle} of {size()} processes will wait for the others: {why}")


def summed(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of what each process gives, the same for all; `tensor` holds it."""
    if size() > 1:
        with _together():
            dist.all_reduce(tensor)
    return tensor


def from_first(make: Callable[[], Value]) -> Value:
    """What `make` gives in the first process; it runs in no other."""
    if size() == 1:
        return make()
    told = [make() if first() else None]
    with _together():
        dist.broadcast_object_list(told, src=0)
    return told[0]  # type: ignore[return-value]


def gathered(value: Value) -> list[Value]:
    """What each process gives, by rank, the same for all."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    with _together():
        dist.all_gather_object(found, value)
    return found


def to_first(value: Value) -> list[Value]:
    """What each process gives, by rank, in the first one; nothing in the others."""
    if size() == 1:
        return [value]
    found: list[Any] | None = [None] * size() if first() else None
    with _together():
        dist.gather_object(value, found, dst=0)
    return found or []


def in_order(shares: Sequence[Sequence[Value]]) -> list[Value]:
    """What `mine` has dealt out, by rank, in one list again."""
    return [shares[place % len(shares)][place // len(shares)] for place in range(sum(map(len, shares)))]


class Agreed(StopRequest):
    """A stop request of all processes: they stop after the same step, whichever was asked."""

    def __init__(self, own: StopRequest) -> None:
        self.own = own

    def agree(self) -> bool:
        self.requested = bool(summed(torch.tensor([float(self.own.requested)])))
        return self.requested


@contextmanager
def stoppable_apart() -> Iterator[StopRequest]:
    """Like `progress.stoppable`, for processes that each do something else and wait for each other at the end."""
    with stoppable() as own:
        try:
            yield own
        except Lost as error:
            error.awaited = own.requested
            raise


@contextmanager
def stoppable_together() -> Iterator[StopRequest]:
    """Like `progress.stoppable`, for processes that take each step together."""
    with stoppable_apart() as own:
        yield own if size() == 1 else Agreed(own)


def may_tell(error: Exception) -> bool:
    """Whether this process is the one that tells of `error`. Several may have the same, or one has ended the others."""
    if size() == 1 and _store is None:
        return True
    if isinstance(error, Lost):
        if error.awaited:
            return False
        time.sleep(_GRACE)
    elif not first():
        time.sleep(_COURTESY)
    try:
        return int(_store.add(_TOLD, 1)) == 1
    except RuntimeError:  # it went with the process that held it
        return True


def signed(error: GformerError) -> GformerError:
    """`error`, with the name of the process that had it unless that is the first."""
    if first():
        return error
    return type(error)(f"process {rank()} of {size()}, on {socket.gethostname()}: {error.message}", error.hint)


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Lost(
            f"one of the {size()} processes has ended, or cannot be reached any more",
            "Its machine may know more. Go on with the same command and --resume.",
        ) from error
