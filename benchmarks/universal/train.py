"""Meta-train one generator on the runs of the mix that `pretrain` made, in one process.

    python -m benchmarks.universal.train --runs RUNS --out FILE.safetensors [--data TASKS]
        [--tasks N|NAME,...] [--networks N|NAME,...] [--seed S] [--steps N | --seconds S | --until T]
        [--set KEY=VALUE ...] [--start FILE] [--device cuda] [--resume] [--calibration RUNS]

Each step takes an episode of each of `meta_train.runs_per_step` runs, and is a step of AdamW on the mean of their
gradients. The learning rate falls by a cosine over the steps or, with `--seconds`, over the time. What is kept is the
moving average of the weights. Every minute the generator is written, and FILE.pt, from which `--resume` goes on;
FILE.jsonl has the figures of every half minute: little is lost where a machine is taken away. With `--calibration` it
is measured at the end on the calibration runs (see `choose`), which FILE.json then holds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.universal.choose import calibration_batches
from benchmarks.universal.loading import load_runs
from benchmarks.universal.mix import NETWORKS, RUNS, TASKS
from benchmarks.universal.training import Training
from gformer_cli.compute.device import pick_device
from gformer_cli.config import resolve
from gformer_cli.errors import InputError

USUAL = {
    "generator.class_shares": True,
    "generator.prior_count": 16.0,
    "meta_train.steps": 2000,
    "meta_train.episodes_per_step": 1,
    "meta_train.runs_per_step": 6,
    "meta_train.learning_rate": 2e-3,
    "meta_train.ema": 0.98,
    "meta_train.largest_batch": 128,
    "meta_train.loss": "logarithmic",
    "meta_train.harm_weight": 0.2,
    "meta_train.precision": "float32",
    "shifts.strength": 2.0,
}
"""Settings that `--set` may change."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="The tasks, where the runs' folder does not keep their images.")
    parser.add_argument("--tasks", default=str(len(TASKS)), help="How many, or which. Default: all.")
    parser.add_argument("--networks", default=str(len(NETWORKS)), help="How many, or which. Default: all.")
    parser.add_argument("--seed", type=int, default=0)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int)
    length.add_argument("--seconds", type=float, help="Of training, without the time in which runs are read.")
    length.add_argument("--until", type=float, help="Unix time at which training ends, instead.")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--start", type=Path, help="A generator file to go on from.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--calibration", type=Path, help="The folder of the calibration runs; needs --data.")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = resolve(base=resolve(flags=USUAL), assignments=given.changes,
                       flags={"seed": given.seed, "meta_train.steps": given.steps})  # fmt: skip
    wanted = picked(given.tasks, TASKS), picked(given.networks, list(NETWORKS))
    runs = [run for run in RUNS if run.task in wanted[0] and run.network in wanted[1]]
    given.out.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    loaded = load_runs(runs, given.runs, given.data, pick_device(given.device))
    if not loaded:
        raise InputError(f"no run of {given.runs} is done that was asked for", "Train them: pretrain.py")
    batches = []
    if given.calibration is not None:
        batches = calibration_batches(given.calibration, given.data, pick_device(given.device))
    print(f"{len(loaded)} of {len(runs)} runs, {len(batches)} calibration batches, "
          f"read in {time.monotonic() - began:.0f} s", flush=True)  # fmt: skip
    training = Training(loaded, settings, given.out, given.start, pick_device(given.device))
    seconds = given.seconds if given.until is None else given.until - time.time()
    training.go(seconds, resume=given.resume)
    if batches:
        training.measure(batches)
    return 0


def picked(wish: str, names: Sequence[str]) -> list[str]:
    """The first so many of `names`, or those that are named."""
    if wish.isdecimal():
        return list(names[: int(wish)])
    unknown = set(wish.split(",")) - set(names)
    if unknown:
        raise InputError(f"unknown: {', '.join(sorted(unknown))}", f"Known: {', '.join(names)}")
    return wish.split(",")


if __name__ == "__main__":
    sys.exit(main())
