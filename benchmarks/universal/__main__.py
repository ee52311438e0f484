"""Make the universal generator again, of packages alone, and measure it.

    python -m benchmarks.universal --work DIR [--seconds N] [--processes N] [--device cuda] [--seed S] [--dry-run]

The steps, in order, each a command of its own, which is shown before it runs:

{steps}

What is there already is not made again, and what was stopped is gone on with: type the same command. Tasks alone are
drawn anew, of packages that are there. DIR then holds tasks/, runs/, trained.safetensors, universal.safetensors, which
is of the kind that ships, and cells.csv, the figures. What must be installed is in the docstring of `tasks`; weights of
networks are packages, too, and a run whose package is not there names it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = "benchmarks.universal"
CHOSEN_BY = ("mix", "calibration")
"""The runs that the generator is made with; the held-out ones come after it."""


@dataclass(frozen=True)
class Step:
    """A command of `benchmarks.universal`."""

    module: str
    purpose: str
    arguments: Sequence[str]
    done: Path | None = None
    """The file that is there once it is done; None: the command itself finds out what is left to do."""
    marked: bool = False
    """Whether that file is a mark alone, which the command does not write."""

    @property
    def command(self) -> list[str]:
        return ["python", "-m", f"{_PACKAGE}.{self.module}", *self.arguments]

    def run(self) -> int:
        """Its exit status."""
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run([sys.executable, *self.command[1:]], env=environment, check=False).returncode


def steps(work: Path, *, seconds: float, processes: int, device: str, seed: int) -> list[Step]:
    """What makes DIR of nothing."""
    tasks, runs, trained = work / "tasks", work / "runs", work / "trained.safetensors"
    shipped, cells = work / "universal.safetensors", work / "cells.csv"
    places, machine = ["--runs", f"{runs}", "--tasks", f"{tasks}"], ["--device", device]
    several = [*machine, "--processes", f"{processes}"]
    pretrain = ["--tasks", f"{tasks}", "--out", f"{runs}", *several]
    train = ["--runs", f"{runs}", "--data", f"{tasks}", "--out", f"{trained}", "--seed", f"{seed}", *machine]
    train += ["--seconds", f"{seconds:g}", "--calibration", f"{runs}", "--resume"]
    caution = ["--generator", f"{trained}", *places, "--out", f"{shipped}"]
    measured = ["--generator", f"{shipped}", *places, "--out", f"{cells}", *several]
    return [
        Step("tasks", "fetch packages and draw the tasks", [f"{tasks}"], tasks / "done", marked=True),
        Step("pretrain", "train the source models of the mix, and of calibration", ["--set", *CHOSEN_BY, *pretrain]),
        Step("train", "train the generator on the mix", train, trained.with_suffix(".json")),
        Step("calibrate", "set its caution on runs that nothing was trained on", caution, shipped),
        Step("pretrain", "train the source models of the last test", ["--set", "held-out", *pretrain]),
        Step("held_out", "measure every method on tasks and networks that were kept aside", measured),
    ]


def main() -> int:
    example = steps(Path("DIR"), seconds=1, processes=1, device="cpu", seed=0)
    listed = "\n".join(f"{number}. {step.module}: {step.purpose}" for number, step in enumerate(example, start=1))
    parser = argparse.ArgumentParser(
        prog=f"python -m {_PACKAGE}",
        description=str(__doc__).format(steps=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="Folder for everything.")
    parser.add_argument("--seconds", type=float, default=3600.0, help="Of training the generator. Default: an hour.")
    parser.add_argument("--processes", type=int, default=1, help="Source models that are trained or measured at once.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0, help="Of the generator and its episodes.")
    parser.add_argument("--dry-run", action="store_true", help="Show the commands alone.")
    given = parser.parse_args()
    how = {"processes": given.processes, "device": given.device, "seed": given.seed}
    wanted = steps(given.work, seconds=given.seconds, **how)
    for number, step in enumerate(wanted, start=1):
        print(f"\n[{number}/{len(wanted)}] {step.purpose}\n$ {shlex.join(step.command)}", flush=True)
        if given.dry_run:
            continue
        if step.done is not None and step.done.is_file():
            print(f"{step.done} is there: it is not made again", flush=True)
            continue
        code = step.run()
        if code:
            print(f"{step.module} ended with {code}: type the same command to go on", file=sys.stderr, flush=True)
            return code
        if step.marked and step.done is not None:
            step.done.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
