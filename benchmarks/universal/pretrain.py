"""Train the source models of the mix, each run by the tool's own `pretrain`: many at once, and what is done stays done.

    python -m benchmarks.universal.pretrain --tasks DIR --out RUNS [--set mix ...] [--only NAME ...]
        [--first N] [--device cuda] [--processes N] [--until T]

`--tasks` is what `tasks` made. A line is printed for each run that is done, with its source model's accuracy on
validation images. What a stopped call leaves unfinished, the next one goes on with.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import queue
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from benchmarks.universal.loading import keep_images
from benchmarks.universal.mix import SETS, Run
from gformer_cli.compute.device import pick_device
from gformer_cli.errors import GformerError
from gformer_cli.train.pretrain import pretrain
from gformer_cli.train.run_folder import RunFolder

_POLL = 1.0
"""Seconds between two looks at the clock and at the processes."""


@dataclass(frozen=True)
class Options:
    """What every process is told."""

    tasks: Path
    out: Path
    device: str
    changes: Sequence[str]
    """`--change KEY=VALUE`, over a run's own settings."""


@dataclass(frozen=True)
class Done:
    """What became of one run."""

    run: Run
    seconds: float
    accuracy: float | None
    """Of the source model of all domains on validation images; None where it failed."""
    error: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="which", choices=SETS, nargs="+", default=["mix"])
    parser.add_argument("--only", nargs="+", default=[], help="Tasks, networks or runs (TASK+NETWORK). Default: all.")
    parser.add_argument("--not", dest="but", nargs="+", default=[], help="Likewise what is left out.")
    parser.add_argument("--first", type=int, metavar="N", help="So many of the first set come before the other sets.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--until", type=float, help="Unix time to stop at, with all that is done by then.")
    parser.add_argument("--change", action="append", default=[], metavar="KEY=VALUE", help="Of all runs' settings.")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    options = Options(given.tasks, given.out, given.device, given.change)
    first, *others = (SETS[name] for name in given.which)
    cut = len(first) if given.first is None else given.first
    runs = [*first[:cut], *itertools.chain.from_iterable(others), *first[cut:]]
    runs = [run for run in runs if (not given.only or run.is_any_of(given.only)) and not run.is_any_of(given.but)]
    if given.processes == 1 and given.until is None:
        found = [report(train(run, options)) for run in runs]
    else:
        found = share_out(runs, options, given.processes, given.until)
    good = [one.accuracy for one in found if one.accuracy is not None]
    print(f"{len(good)} of {len(runs)} runs are done, {len(found) - len(good)} failed", flush=True)
    return int(len(good) < len(runs))


def report(done: Done) -> Done:
    """A line for a run."""
    what = done.error if done.accuracy is None else f"{100.0 * done.accuracy:.1f} %"
    print(f"{time.strftime('%H:%M:%S')} {done.run.name}: {what}, {done.seconds:.0f} s", flush=True)
    return done


def train(run: Run, options: Options) -> Done:
    """All models of a run, unless they are there already."""
    began = time.monotonic()
    folder = RunFolder(options.out / run.name)
    try:
        if not folder.source_path.is_file():
            torch.set_num_threads(1)
            # as on a CPU: a GPU's shortened convolutions depend on the size of the batch, which the tool refuses
            torch.backends.cudnn.allow_tf32 = False
            # asked to be deterministic, torch would fill each new tensor first: as many kernels again on a GPU
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
            settings = run.settings(options.changes)
            device = pick_device(options.device)
            pretrain(run.domains(options.tasks), settings, folder, device=device, workers=0, resume=folder.started)
            keep_images(run, folder, options.tasks)
        return Done(run, time.monotonic() - began, folder.source().validation_accuracy)
    except GformerError as error:
        return Done(run, time.monotonic() - began, None, f"failed: {error.message}. {error.hint}")
    except Exception:
        return Done(run, time.monotonic() - began, None, f"failed:\n{traceback.format_exc()}")


def share_out(runs: Sequence[Run], options: Options, processes: int, end: float | None) -> list[Done]:
    """Let processes take one run after another, in their order, until all are done or the time `end` has come."""
    context = multiprocessing.get_context("spawn")
    waiting, said = context.Queue(), context.Queue()
    for run in [*runs, *[None] * processes]:
        waiting.put(run)
    crew = [context.Process(target=_work, args=(waiting, said, options), daemon=True) for _ in range(processes)]
    for one in crew:
        one.start()
    found: list[Done] = []
    while len(found) < len(runs) and (end is None or time.time() < end):
        try:
            found.append(report(said.get(timeout=_POLL)))
        except queue.Empty:
            if not any(one.is_alive() for one in crew):
                break
    _end(crew)
    for line in (waiting, said):
        line.cancel_join_thread()
    return found


def _end(crew: Sequence[BaseProcess]) -> None:
    """End the processes of ours that are still at work. Their runs have checkpoints, which are written whole."""
    for one in crew:
        one.join(_POLL / len(crew))
        one.kill()


def _work(waiting: Any, said: Any, options: Options) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    while (run := waiting.get()) is not None:
        said.put(train(run, options))


if __name__ == "__main__":
    sys.exit(main())
