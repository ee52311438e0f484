"""What adapting gains a small ViT and a small ConvNeXt, which have no BatchNorm: accuracy on `digit-cameras`.

    python benchmarks/normalisations.py --out DIR [--network vit ...] [--seed 0 ...] [--device cuda] [--jobs N]

Runs pretrain, meta-train and evaluate as a user would type them, for each network and seed, `--jobs` runs side by side,
each command on one thread. Printed is a markdown table per network: a row per method, a column per stream and batch
size; accuracy in %, averaged over the targets, mean ± standard error over seeds, and in brackets the gain over
`source`, paired by seed. Above it stands what the source models reach on their validation images, and after which
step. `--json FILE` holds all figures, and those of the runs that are done while others go on. What is finished is kept
in DIR and not done again, so a stopped call goes on; DIR/NETWORK-SEED.log holds what the commands say.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

from results import with_error

METHODS = (
    "source", "bn-mix", "tent", "sar", "eata", "shot-im", "lame", "rotta", "t3a", "constant", "gformer", "gformer-guard"
)  # fmt: skip
NETWORKS = {"vit": 1e-3, "convnext": 2e-3}
"""Functions of small_networks.py, and the learning rate that each is trained with."""
SETTINGS = ("backbone.width=1", "backbone.stem=standard", "pretrain.weight_decay=0.05")
"""What both need beside preset `quick`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="The folder of digit-cameras. Default: made in --out.")
    parser.add_argument("--network", choices=NETWORKS, action="append", help="Repeatable. Default: both.")
    parser.add_argument("--seed", type=int, action="append", help="Repeatable. Default: 0, 1 and 2.")
    parser.add_argument("--method", choices=METHODS, action="append", help="Repeatable. Default: all of these.")
    parser.add_argument("--stream", action="append", help="Repeatable. Default: stationary and label-shift.")
    parser.add_argument("--batch-size", type=int, action="append", help="Repeatable. Default: 64 and 8.")
    parser.add_argument("--pretrain-steps", type=int, default=2000)
    parser.add_argument("--meta-train-steps", type=int, default=300)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for both trainings. Repeatable.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--evaluate", default="", metavar="OPTIONS", help="More for gformer evaluate: '--limit 100'.")
    parser.add_argument("--jobs", type=int, default=1, help="Networks and seeds at once.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="Where all figures are written to.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.method, options.stream = options.method or METHODS, options.stream or ["stationary", "label-shift"]
    if options.data is None:
        options.data = options.out / "data"
        if not options.data.is_dir():
            gformer(options.out / "data.log", "data", "demo", "digit-cameras", "--out", options.data)
    networks, seeds = options.network or list(NETWORKS), options.seed or [0, 1, 2]
    runs = [Run(network, seed, options) for network in networks for seed in seeds]
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in [pool.submit(run.go, lambda: write(options.json, runs)) for run in runs]:
            done.result()
    for network in networks:
        print_table(network, [run for run in runs if run.network == network and not run.failed])
    return int(any(run.failed for run in runs))


class Run:
    """One network and seed, from its source models to its accuracies."""

    def __init__(self, network: str, seed: int, options: argparse.Namespace) -> None:
        self.network, self.seed, self.options = network, seed, options
        self.folder: Path = options.out / f"{network}-{seed}"
        self.log = self.folder.with_suffix(".log")
        self.backbone = f"{Path(__file__).with_name('small_networks.py')}:{network}"
        self.failed = ""
        """The command that did, if one did."""
        self.seconds: dict[str, float] = {}
        self.cells: dict[int, list[dict[str, Any]]] = {}
        """Of results.json, per batch size."""

    def go(self, progress: Any) -> None:
        """Do what is not done yet; `progress` is called after each command."""
        options, sources = self.options, self.options.data / "sources"
        trained = ["--source", sources, "--run", self.folder, *self._changes()]
        try:
            if not (self.folder / "source.json").is_file():
                steps = self._steps("pretrain", options.pretrain_steps, 20)
                rate = f"--set=pretrain.learning_rate={NETWORKS[self.network]}"
                again = ["--resume"] if (self.folder / "settings.yaml").is_file() else []
                self._run("pretrain", *trained, "--preset", "quick", "--seed", self.seed, *steps, rate, *again)
                progress()
            if not (self.folder / "model.gformer").is_file():
                again = ["--resume"] if (self.folder / "checkpoints").is_dir() else []
                again += ["--start", "none"]  # what a network's own training is worth
                self._run("meta-train", *trained, *self._steps("meta_train", options.meta_train_steps, 5), *again)
                progress()
            for size in options.batch_size or [64, 8]:
                self._evaluate(size)
                progress()
        except subprocess.CalledProcessError as error:
            self.failed = str(error.cmd[3])
            print(f"{self.network}, seed {self.seed}: {self.failed} failed, see {self.log}", file=sys.stderr)
            progress()

    def _changes(self) -> list[str]:
        return ["--backbone", self.backbone, *(f"--set={change}" for change in (*SETTINGS, *self.options.set))]

    @staticmethod
    def _steps(section: str, steps: int, validations: int) -> list[str]:
        return [f"--set={section}.steps={steps}", f"--set={section}.validate_every={max(1, steps // validations)}"]

    def _evaluate(self, size: int) -> None:
        options, results = self.options, self.folder / f"results-{size}"
        if not (results / "results.json").is_file():
            self._run("evaluate", "--run", self.folder, "--out", results, "--backbone", self.backbone,
                      "--target", options.data / "targets", "--source", options.data / "sources",
                      "--methods", ",".join(options.method), "--streams", ",".join(options.stream),
                      "--batch-size", size, "--seed", self.seed, "--overwrite", *options.evaluate.split())  # fmt: skip
        self.cells[size] = json.loads((results / "results.json").read_text())["cells"]

    def _run(self, command: str, *arguments: object) -> None:
        began = time.monotonic()
        device = [] if "--device" in arguments else ["--device", self.options.device]
        gformer(self.log, command, *arguments, *device)
        self.seconds[command] = self.seconds.get(command, 0.0) + time.monotonic() - began

    def accuracies(self, stream: str, size: int) -> dict[str, float]:
        """In %, per method, averaged over the targets."""
        found: dict[str, list[float]] = {}
        for cell in self.cells[size]:
            if cell["stream"] == stream:
                found.setdefault(cell["method"], []).append(100.0 * cell["accuracy"])
        return {method: mean(each) for method, each in found.items()}

    def validations(self) -> list[tuple[int, float]]:
        """Steps and accuracies on validation images of the source model of all domains, in %."""
        log = self.folder / "pretrain.jsonl"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
        return [(line["step"], 100.0 * line["validation_accuracy"]) for line in lines if line["model"] == "all"]

    def document(self) -> dict[str, Any]:
        kept = "method", "stream", "target", "batch_size", "n", "accuracy"
        return {
            "network": self.network,
            "seed": self.seed,
            "failed": self.failed,
            "seconds": self.seconds,
            "source_validation": self.validations(),
            "cells": [{key: cell[key] for key in kept} for cells in list(self.cells.values()) for cell in cells],
        }


def gformer(log: Path, *arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    with log.open("a") as sink:
        print("$ gformer", *words, file=sink, flush=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "gformer_cli", *words, "--debug"]
        subprocess.run(command, check=True, stdout=sink, stderr=sink, env=environment)


def write(file: Path | None, runs: Sequence[Run]) -> None:
    if file is not None:
        part = file.with_name(f"{file.name}.{time.monotonic_ns()}")  # several runs may be done at once
        part.write_text(json.dumps({"runs": [run.document() for run in runs]}, indent=1))
        part.replace(file)


def print_table(network: str, runs: Sequence[Run]) -> None:
    if not runs:
        return
    options = runs[0].options
    best = [max(run.validations(), key=lambda pair: pair[1]) for run in runs]
    last = [run.validations()[-1] for run in runs]
    print(
        f"\n{network}, seeds {', '.join(str(run.seed) for run in runs)}. "
        f"Source model on validation images: {with_error([one[1] for one in best])} % "
        f"(after step {', '.join(str(one[0]) for one in best)}; after the last, {last[0][0]}: "
        f"{with_error([one[1] for one in last])} %)\n"
    )
    columns = [(stream, size) for stream in options.stream for size in options.batch_size or [64, 8]]
    print("| | " + " | ".join(f"{stream}, batches of {size}" for stream, size in columns) + " |")
    print("| --- " * (len(columns) + 1) + "|")
    found = {column: [run.accuracies(*column) for run in runs] for column in columns}
    for method in options.method:
        cells = []
        for column in columns:
            gains = [one[method] - one["source"] for one in found[column]]
            gain = "" if method == "source" else f" ({with_error(gains, '+')})"
            cells.append(with_error([one[method] for one in found[column]]) + gain)
        print(f"| {method} | {' | '.join(cells)} |")


if __name__ == "__main__":
    sys.exit(main())
