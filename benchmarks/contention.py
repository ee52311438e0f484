"""What a training step, an episode and a batch of `adapt` take beside other work, by how threads are used.

    python benchmarks/contention.py --source data/sources --run run [--rounds 3] [--seconds 8] [--beside idle ...]

`run` is a folder that `gformer meta-train` has finished; nothing in it is changed. Each cell is measured in a process
of its own (how threads wait is decided before torch is imported), all ways in turn, `rounds` times; printed are medians
in milliseconds a piece, and the last columns' ratio to one thread. *processes*: as many of one thread as there are
cores, which is how `pretrain` and `meta-train` work; *chosen*: one process, on the number of threads that pays.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gformer_cli.compute.threads import SHORT_SPIN, usable_cores

PIECES = ("step", "episode", "batch")
BESIDE = {"idle": 0, "a busy loop": 1, "two PyTorch processes": 2}
ONE, ALL, SHORT, PASSIVE = "one thread", "all threads", "all, short spin", "all, passive"
CHOSEN, PROCESSES = "chosen", "processes"
WAYS = (ONE, ALL, SHORT, PASSIVE, CHOSEN, PROCESSES)
WAITING: dict[str, dict[str, str]] = {
    SHORT: SHORT_SPIN,
    CHOSEN: SHORT_SPIN,
    PROCESSES: SHORT_SPIN,
    PASSIVE: {"OMP_WAIT_POLICY": "PASSIVE"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, action="append", required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="Of each measurement, after as many of warming up.")
    parser.add_argument("--piece", choices=PIECES, action="append", help="Repeatable. Default: all.")
    parser.add_argument("--beside", choices=BESIDE, action="append", help="Repeatable. Default: all.")
    parser.add_argument("--way", choices=WAYS, action="append", help="Repeatable. Default: all.")
    parser.add_argument("--json", action="store_true", help="One JSON document instead of tables.")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load_for_ever()
    elif options.measure:
        print(json.dumps(measure(*options.measure, options)))
    else:
        compare(options)


def compare(options: argparse.Namespace) -> None:
    """Every way of every piece beside every load."""
    cells: list[dict[str, Any]] = []
    for piece in options.piece or PIECES:
        ways = [way for way in options.way or WAYS if way != PROCESSES or piece != "batch"]
        for beside in options.beside or BESIDE:
            found: dict[str, list[float]] = {way: [] for way in ways}
            with busy(beside, options):
                for _ in range(options.rounds):
                    for way in ways:
                        found[way].append(in_a_process(piece, way, options))
            cells += [
                {"piece": piece, "beside": beside, "way": way, "milliseconds": statistics.median(times), "all": times}
                for way, times in found.items()
            ]
            print(f"{piece} beside {beside}: {found}", file=sys.stderr)
    if options.json:
        print(json.dumps({"cores": usable_cores(), "cells": cells}, indent=1))
        return
    for piece in options.piece or PIECES:
        print(f"\n{piece}, ms, {usable_cores()} cores\n")
        ways = [way for way in WAYS if any(cell["way"] == way and cell["piece"] == piece for cell in cells)]
        print(f"| | {' | '.join(ways)} |\n| --- {'| --- ' * len(ways)}|")
        for beside in options.beside or BESIDE:
            row = {c["way"]: c["milliseconds"] for c in cells if (c["piece"], c["beside"]) == (piece, beside)}
            one = row.get(ONE)
            shown = [
                f"{row[way]:.0f}" + (f" ({row[way] / one:.2f})" if one and way in (CHOSEN, PROCESSES) else "")
                for way in ways
            ]
            print(f"| {beside} | {' | '.join(shown)} |")


def in_a_process(piece: str, way: str, options: argparse.Namespace) -> float:
    """Milliseconds of one piece, measured by a process that waits as `way` says."""
    own = [sys.executable, __file__, "--run", str(options.run), "--seconds", str(options.seconds)]
    own += [word for folder in options.source for word in ("--source", str(folder))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    done = subprocess.run(
        [*own, "--measure", piece, way],
        check=True,
        stdout=subprocess.PIPE,
        env=environment | WAITING.get(way, {}),
        text=True,
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def busy(beside: str, options: argparse.Namespace) -> Iterator[None]:
    """The other work, while the block runs."""
    commands = {
        "a busy loop": [[sys.executable, "-c", "while True: pass"]],
        "two PyTorch processes": [[sys.executable, __file__, "--load", "--run", ".", "--source", "."]] * 2,
    }.get(beside, [])
    others = [subprocess.Popen(command) for command in commands]
    try:
        time.sleep(10.0 if others else 0.0)  # until they compute
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def load_for_ever() -> None:
    """A training of somebody else, on the threads that PyTorch takes by itself."""
    import torch
    from torchvision.models import resnet18

    network, images = resnet18(num_classes=10), torch.randn(32, 3, 64, 64)
    while True:
        network.zero_grad()
        network(images).sum().backward()


def measure(piece: str, way: str, options: argparse.Namespace) -> float:
    """Milliseconds a piece in this process (or its crew)."""
    import torch

    from gformer_cli.compute.pace import Pace

    cores = usable_cores()
    if way == PROCESSES:
        from gformer_cli.compute.crew import Processes

        with Processes(cores, 1, Work.build, options) as crew:
            for seconds in (options.seconds, options.seconds):  # the first warms up
                futures = [crew.submit(Work.repeat, piece, seconds) for _ in range(cores)]
                rates = [future.result() for future in futures]
            return 1000.0 / sum(rates)
    torch.set_num_threads(1 if way == ONE else cores)
    pace = Pace(cores, idle=lambda: False) if way == CHOSEN else Pace(torch.get_num_threads(), fixed=True)
    work = Work(options, pace)
    work.repeat(piece, options.seconds)
    return 1000.0 / work.repeat(piece, options.seconds)


class Work:
    """The pieces, on the images and models of a run."""

    def __init__(self, options: argparse.Namespace, pace: Any) -> None:
        import torch

        from gformer_cli.adapt.predictor import Predictor
        from gformer_cli.bundle import build_generator, build_model, load_bundle
        from gformer_cli.folders.domains import find_domains
        from gformer_cli.images.preprocessing import Batch
        from gformer_cli.progress import Silent
        from gformer_cli.train.episode_sources import EpisodeSource
        from gformer_cli.train.meta_trainer import MetaTrainer
        from gformer_cli.train.pretrain import read_source
        from gformer_cli.train.run_folder import RunFolder
        from gformer_cli.train.source_models import SourceModels
        from gformer_cli.train.source_trainer import SourceTrainer

        run, device = RunFolder(options.run), torch.device("cpu")
        settings, source = run.settings(), run.source()
        loaded, _ = read_source(
            find_domains(options.source), source.classes, settings, workers=0, strict=False, progress=Silent()
        )
        self.trainer = SourceTrainer("all", loaded, settings, run, len(source.classes), device, pace=pace)
        models = SourceModels(run, source, settings, device)
        model = build_model(settings.generator, build_generator(settings.generator, models.full))
        own = [EpisodeSource(run.root.name, models, loaded, settings, leave_one_domain_out=True)]
        self.meta = MetaTrainer(model, own, settings, run, device, label="generator", pace=pace)
        bundle = load_bundle(run.bundle)
        self.predictor = Predictor(bundle, device, bundle.guard, pace=pace)
        files = tuple(loaded[0].files[:64])
        self.batch = Batch(loaded[0].pixels(range(len(files))), files, ("",) * len(files))

    @classmethod
    def build(cls, _line: Any, options: argparse.Namespace) -> Work:
        """Of a process of a crew."""
        from gformer_cli.compute.pace import Pace

        return cls(options, Pace(1))

    def repeat(self, piece: str, seconds: float) -> float:
        """Pieces a second."""
        do: dict[str, Callable[[int], object]] = {
            "step": self.trainer.step,
            "episode": self.meta.works[0].learned,
            "batch": lambda _: self.predictor.predict(self.batch, "here"),
        }
        began, count = time.perf_counter(), 0
        while count < 3 or time.perf_counter() - began < seconds:
            do[piece](count)
            count += 1
        return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
