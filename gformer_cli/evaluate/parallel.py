"""Several streams at once, each in a process of its own that runs every method on a share of the threads.

A small network keeps no two threads busy, and streams know nothing of each other. Within a stream the methods still
take turns in one process, so ratios of cost compare like with like.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, as_completed
from contextlib import ExitStack

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.compute import ranks
from gformer_cli.compute.crew import Line, Processes
from gformer_cli.compute.device import gpu_in_turn, make_deterministic
from gformer_cli.compute.pace import Pace
from gformer_cli.compute.threads import Cores
from gformer_cli.data.streams import Stream
from gformer_cli.evaluate.plan import Plan
from gformer_cli.evaluate.results import Cell
from gformer_cli.evaluate.run import Harness, Measure
from gformer_cli.export.model import GraphModel
from gformer_cli.images.preprocessing import Skipped
from gformer_cli.progress import Silent, StopRequest

Measurement = tuple[list[Cell], list[Skipped]]
_CALL = 6
"""A batch costs about as much as so many images more: the longest stream starts first, so that none is left alone."""
_ready = ExitStack()
"""Held until the process ends: passes of the network are counted as long as it is open."""


def share_of(cores: Cores | None, jobs: int) -> int:
    """The threads that each of `jobs` processes has of `cores`, by default of those that torch has here."""
    return max(1, (torch.get_num_threads() if cores is None else cores.count) // jobs)


def measure_in_parallel(
    load: Callable[[], Bundle | GraphModel],
    plan: Plan,
    waiting: list[tuple[int, Stream]],
    add: Callable[[int, Stream, Measurement], None],
    stop: StopRequest,
    *,
    jobs: int,
    cores: Cores | None,
    device: torch.device,
    workers: int,
    strict: bool,
) -> None:
    """Tell `add` what each stream of `waiting` gave as it finishes; `load` reads the bundle anew in each process.

    After `stop` was requested the streams that have begun are finished and no other begins. Raises `Killed` where a
    process was killed.
    """
    threads = share_of(cores, jobs)
    fixed = cores is None or cores.fixed
    with Processes(jobs, threads, _harness, load, plan, device, workers, strict, threads, fixed) as crew:
        futures: dict[Future[Measurement], tuple[int, Stream]] = {
            crew.submit(_run, *item): item for item in _longest_first(waiting)
        }
        for future in as_completed(futures):
            if not future.cancelled():
                add(*futures[future], future.result())
            if stop.requested:
                crew.cancel()


def measure_over_ranks(
    harness: Harness,
    waiting: list[tuple[int, Stream]],
    add: Callable[[int, Stream, Measurement], None],
    stop: StopRequest,
) -> None:
    """Share the streams of `waiting` among the processes of torchrun; the first is told what each gave.

    They go in rounds of a stream each, the longest first, so that those of a round are about as long as each other.
    After `stop` was requested the streams of the round are finished and no other begins.
    """
    ordered, size = _longest_first(waiting), ranks.size()
    with harness.ready() as run:
        for start in range(0, len(ordered), size):
            if stop.agree():
                return
            dealt = ordered[start : start + size]
            own = [run(*item, Silent()) for item in ranks.mine(dealt)]
            for item, found in zip(dealt, ranks.in_order(ranks.to_first(own)), strict=False):
                add(*item, found)


def _longest_first(waiting: list[tuple[int, Stream]]) -> list[tuple[int, Stream]]:
    return sorted(waiting, key=lambda item: -sum(len(batch.items) + _CALL for batch in item[1].batches))


def _harness(
    line: Line,
    load: Callable[[], Bundle | GraphModel],
    plan: Plan,
    device: torch.device,
    workers: int,
    strict: bool,
    threads: int,
    fixed: bool,
) -> Measure:
    """What a process measures a stream with."""
    make_deterministic(plan.seeds[0])
    pace = Pace(threads, fixed=fixed or device.type != "cpu")
    own = gpu_in_turn(device, line.number)
    harness = Harness(load(), plan, device=own, workers=workers, strict=strict, pace=pace)
    return _ready.enter_context(harness.ready())


def _run(measure: Measure, seed: int, stream: Stream) -> Measurement:
    return measure(seed, stream, Silent())
