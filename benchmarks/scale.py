"""What several processes save, of one thread each: three commands by `gformer launch` against one process.

    python benchmarks/scale.py --source data/sources --target data/targets --run RUN [--processes 2] [--rounds 5]

`RUN` is a folder that `gformer meta-train` has filled; nothing in it is changed. One process and several take turns,
and the figure is the median over rounds of the ratio of their times, so that other work slows both alike. Counted are
the seconds that the command itself tells of its loop; what start-up costs, imports and reading images, is in the second
figure, of the whole command.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

GFORMER = [sys.executable, "-m", "gformer_cli"]
TOLD = re.compile(r"^(?:training all|meta-training generator|evaluating): \d+ in ([\d.]+) s", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """What one command took, in one process and in several."""

    command: str
    ratio: float
    """Median over rounds of the loop's seconds in one process over those in several."""
    ratios: list[float]
    whole: float
    """The same of the whole command."""
    seconds: list[list[float]]
    """Per round the loop's, in one process and in several."""
    load: list[float]
    """Processes that ran on the machine at the beginning of each round, on the average of a minute."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="Of pretrain and meta-train.")
    parser.add_argument("--episodes", type=int, default=8, help="Of a step.")
    parser.add_argument("--limit", type=int, default=200, help="Of evaluate: images of each target.")
    parser.add_argument("--json", action="store_true", help="One JSON document instead of a table.")
    options = parser.parse_args()

    def train(folder: Path) -> list[object]:
        keys = [f"steps={options.steps}", f"validate_every={options.steps}", "batch_size=128"]
        settings = [word for one in keys for word in ("--set", f"pretrain.{one}")]
        one_model = ["--preset", "quick", "--no-leave-one-out"]  # which processes share step by step
        return ["pretrain", "--source", options.source, "--out", folder / "run", *one_model, *settings]

    def learn(folder: Path) -> list[object]:
        run = shutil.copytree(options.run, folder / "run")
        keys = ["guard_batches=0", "constant=false", f"validate_every={options.steps}"]
        small = [f"meta_train.{key}" for key in (*keys, f"episodes_per_step={options.episodes}")]
        settings = [word for one in small for word in ("--set", one)]
        start = ["--overwrite", "--start", "none", "--steps", options.steps]
        return ["meta-train", "--source", options.source, "--run", run, *start, *settings]

    def measure(folder: Path) -> list[object]:
        what = ["--streams", "stationary,label-shift", "--methods", "bn,tent,gformer", "--limit", options.limit]
        model = ["--model", options.run / "model.gformer", "--out", folder / "results"]
        return ["evaluate", *model, "--target", options.target, *what, "--seed", 0, "--seed", 1]

    cells = [compare(words, options.processes, options.rounds) for words in (train, learn, measure)]
    if options.json:
        print(json.dumps({"processes": options.processes, "cells": [asdict(cell) for cell in cells]}, indent=1))
        return
    print(f"{options.processes} processes against one, a thread each, {os.cpu_count()} cores\n")
    print("| | times as fast | lowest to highest | whole command | load beside |\n| --- | --- | --- | --- | --- |")
    for cell in cells:
        spread = f"{min(cell.ratios):.2f} to {max(cell.ratios):.2f}"
        load = f"{min(cell.load):.1f} to {max(cell.load):.1f}"
        print(f"| {cell.command} | {cell.ratio:.2f} | {spread} | {cell.whole:.2f} | {load} |")


def compare(words: Callable[[Path], list[object]], processes: int, rounds: int) -> Cell:
    """Both take turns; which goes first alternates."""
    found: list[dict[int, tuple[float, float]]] = []
    load = []
    name = ""
    for number in range(rounds):
        load.append(os.getloadavg()[0])
        one: dict[int, tuple[float, float]] = {}
        for count in (1, processes) if number % 2 == 0 else (processes, 1):
            with tempfile.TemporaryDirectory() as folder:
                command = words(Path(folder))
                name = str(command[0])
                one[count] = timed([str(word) for word in command], count)
        found.append(one)
    ratios = [one[1][0] / one[processes][0] for one in found]
    whole = statistics.median(one[1][1] / one[processes][1] for one in found)
    seconds = [[one[1][0], one[processes][0]] for one in found]
    return Cell(name, statistics.median(ratios), ratios, whole, seconds, load)


def timed(words: list[str], processes: int) -> tuple[float, float]:
    """Seconds of the loop, and of the whole command."""
    launch = ["launch", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    began = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*GFORMER, *launch, *words], capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - began
    told = TOLD.search(done.stderr)
    if done.returncode or told is None:
        sys.exit(done.stderr)
    return float(told[1]), seconds


if __name__ == "__main__":
    main()
