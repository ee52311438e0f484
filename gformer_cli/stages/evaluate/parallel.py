"""Several streams at once, each in a process of its own that runs every method on a share of the threads.

A small network keeps no two threads busy, and streams know nothing of each other. Within a stream the methods still
take turns in one process, so ratios of cost compare like with like.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import wait

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.data.images import Skipped
from gformer_cli.data.streams import Stream
from gformer_cli.stages.evaluate.plan import Plan
from gformer_cli.stages.evaluate.results import Cell
from gformer_cli.stages.evaluate.run import Harness
from gformer_cli.stages.progress import Silent, StopRequest
from gformer_cli.stages.training import make_deterministic

Found = tuple[list[Cell], list[Skipped]]
_CALL = 6
"""A batch costs about as much as so many images more: the longest stream starts first, so that none is left alone."""
_measure: Callable[[int, Stream], Found] | None = None
"""What this process measures a stream with, once `_start` has run in it."""
_ready = ExitStack()
"""Held until the process ends: passes of the network are counted as long as it is open."""


def measure_in_parallel(
    load: Callable[[], Bundle],
    plan: Plan,
    waiting: list[tuple[int, Stream]],
    add: Callable[[int, Stream, Found], None],
    stop: StopRequest,
    *,
    jobs: int,
    device: torch.device,
    workers: int,
    strict: bool,
) -> None:
    """Tell `add` what each stream of `waiting` gave as it finishes; `load` reads the bundle anew in each process.

    After `stop` was requested the streams that have begun are finished and no other begins. Raises
    `BrokenProcessPool` where a process was killed.
    """
    threads = max(1, torch.get_num_threads() // jobs)
    start = partial(_start, load, plan, threads, device=device, workers=workers, strict=strict)
    # a fork would inherit locks of threads that it does not have
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=start) as pool:
        longest_first = sorted(waiting, key=lambda item: -sum(len(b.items) + _CALL for b in item[1].batches))
        futures: dict[Future[Found], tuple[int, Stream]] = {pool.submit(_run, *item): item for item in longest_first}
        try:
            for future in as_completed(futures):
                if not future.cancelled():
                    add(*futures[future], future.result())
                if stop.requested:
                    pool.shutdown(wait=False, cancel_futures=True)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(
    load: Callable[[], Bundle], plan: Plan, threads: int, *, device: torch.device, workers: int, strict: bool
) -> None:
    global _measure
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    make_deterministic(plan.seeds[0])
    try:
        harness = Harness(load(), plan, device=device, workers=workers, strict=strict)
        measure = _ready.enter_context(harness.ready())
    except Exception as error:  # raised here it would be told as a process that died
        _measure = partial(_fail, error)
    else:
        _measure = lambda seed, stream: measure(seed, stream, Silent())  # noqa: E731


def _fail(error: Exception, _seed: int, _stream: Stream) -> Found:
    raise error


def _run(seed: int, stream: Stream) -> Found:
    assert _measure is not None
    return _measure(seed, stream)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # killed hard, the parent could not tell us to stop
