"""Measure what is not measured yet, stream by stream or several at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gformer_cli.bundle import Bundle
from gformer_cli.compute import ranks
from gformer_cli.compute.crew import Killed
from gformer_cli.compute.device import pick_pace
from gformer_cli.compute.threads import Cores
from gformer_cli.data.streams import Stream
from gformer_cli.errors import Interrupted, WorkError
from gformer_cli.evaluate.parallel import Measurement, measure_in_parallel, measure_over_ranks
from gformer_cli.evaluate.plan import Plan
from gformer_cli.evaluate.records import Records
from gformer_cli.evaluate.run import Harness
from gformer_cli.export.model import GraphModel
from gformer_cli.progress import Progress, Silent


def measure(
    load: Callable[[], Bundle | GraphModel],
    plan: Plan,
    *,
    device: torch.device,
    workers: int,
    jobs: int = 1,
    cores: Cores | None = None,
    strict: bool = False,
    records: Records | None = None,
    progress: Progress | None = None,
) -> Records:
    """Measure `plan` (see `check_plan`), beyond what `records` holds already; returns them.

    `load` gives the bundle; with `jobs` above 1 it is called in as many other processes. Unreadable images are left out
    of every method alike and listed. Raises `WorkError` for a stream without any readable image and for a process
    that was killed, `InputError` for an unreadable one with `strict`, `Interrupted` after Ctrl-C, between two streams.

    Where torchrun has started several processes, the first one alone has all records.
    """
    records = Records() if records is None else records
    progress = progress or Silent()
    drawn = plan.own()
    waiting = [(seed, stream) for seed, stream in drawn if not records.has(seed, stream)]
    total = sum(len(stream.batches) for _, stream in drawn)
    progress.begin("evaluating", total, total - sum(len(stream.batches) for _, stream in waiting))

    def add(seed: int, stream: Stream, measurement: Measurement) -> None:
        records.add(seed, stream, *measurement)
        for _ in stream.batches:
            progress.advance(f"{stream.kind}, {stream.part}")

    with ranks.stoppable_together() as stop:
        if ranks.size() > 1:
            ranks.tell_idle(len(waiting), f"streams to measure: {len(waiting)}", progress)
            pace = pick_pace(cores, device, Silent())
            harness = Harness(load(), plan, device=device, workers=workers, strict=strict, pace=pace)
            measure_over_ranks(harness, waiting, add, stop)
        elif jobs == 1:
            pace = pick_pace(cores, device, progress)
            with Harness(load(), plan, device=device, workers=workers, strict=strict, pace=pace).ready() as run:
                for seed, stream in waiting:
                    if stop.requested:
                        break
                    records.add(seed, stream, *run(seed, stream, progress))
        else:
            try:
                how: dict[str, Any] = {"device": device, "workers": workers, "strict": strict}
                measure_in_parallel(load, plan, waiting, add, stop, jobs=jobs, cores=cores, **how)
            except Killed:
                raise WorkError(
                    f"one of the {jobs} processes was killed, after {len(records)} of {len(drawn)} streams; "
                    "the memory may not do for so many",
                    f"Go on with --resume and fewer --jobs, such as --jobs {max(1, jobs // 2)}."
                    if records.path
                    else f"Try fewer --jobs, such as --jobs {max(1, jobs // 2)}; with --out DIR it can be resumed.",
                ) from None
    if len(records) < len(drawn) and (ranks.first() or stop.requested):
        again = "Go on with the same command and --resume." if records.path else "With --out it can resume."
        raise Interrupted(f"stopped after {len(records)} of {len(drawn)} streams", again)
    progress.end()
    records.sort(drawn)
    return records
