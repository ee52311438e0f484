"""Put a generator on the source models of held-out runs, as `gformer import` does, and measure every method there.

    python -m benchmarks.universal.held_out --generator FILE --runs RUNS --tasks DIR --out CELLS.csv
        [--set held-out] [--only NAME ...] [--methods NAME,...] [--sizes 64,8,1] [--limit 192] [--processes N]

Streams are `stationary`, all classes mixed, and `label-shift`, classes in waves; in batches of one only the methods of
`ALONE` are measured. CELLS.csv gets a row for each task, network, seed, target, stream, batch size and method; what is
in it already is not measured again, and methods without a generator are measured once for all generators. At the end a
table is printed: accuracy in %, mean ± standard error over seeds, and what is lost to `source` over all cells.
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from benchmarks.universal.mix import SETS, Run
from benchmarks.universal.table import print_table
from gformer_cli.bundle import load_bundle
from gformer_cli.compute.device import make_deterministic, pick_device
from gformer_cli.data.streams import StreamOptions, streams_of
from gformer_cli.evaluate.plan import Plan, impossible_methods, limited
from gformer_cli.evaluate.run import Harness
from gformer_cli.evaluate.source import held_out
from gformer_cli.folders.domains import Layout, find_domains
from gformer_cli.importing.exchange import exchange, held_by
from gformer_cli.importing.generators import choose_generator
from gformer_cli.methods import METHODS
from gformer_cli.networks.own_code import own_code
from gformer_cli.progress import Silent
from gformer_cli.train.run_folder import RunFolder

KINDS = ("stationary", "label-shift")
ALONE = ("source", "bn", "bn-mix", "gformer", "gformer-context", "gformer-guard")
"""What is measured in batches of one: the others would take hours."""


@dataclass(frozen=True)
class Row:
    """One method on one target of one stream."""

    generator: str
    """The file's name; empty for a method that has none."""
    task: str
    network: str
    seed: int
    target: str
    stream: str
    size: int
    method: str
    n: int
    accuracy: float

    @property
    def known(self) -> tuple[str, str, str, int]:
        """What is measured at once: a generator or none, a run, a method, a batch size."""
        return self.generator, f"{self.task}+{self.network}+{self.seed}", self.method, self.size


@dataclass(frozen=True)
class Work:
    """What one process does: some methods on one run, in batches of one size."""

    run: Run
    folder: Path
    tasks: Path
    generator: Path
    methods: Sequence[str]
    size: int
    limit: int
    device: str

    def rows(self) -> list[Row]:
        torch.set_num_threads(1)
        make_deterministic(self.run.seed)
        device = pick_device(self.device)
        with tempfile.TemporaryDirectory() as place:
            folder = RunFolder(Path(place) / self.run.name)
            shutil.copytree(self.folder, folder.root)
            name = self.run.settings().backbone.name
            own = name if own_code(name) else None
            held = held_by(folder, own, device)
            chosen = choose_generator(held.backbone, held.settings, str(self.generator), recorded=False)
            exchange(held, chosen, (), recorded=False)
            bundle = load_bundle(folder.bundle, own_backbone=own)
        methods = [method for method in self.methods if method not in impossible_methods(bundle)]
        targets = limited(find_domains([self.run.folder(self.tasks) / "targets"], Layout.auto), self.limit)
        source = []
        if any(METHODS[method].reads_source for method in methods):
            source = held_out(bundle, self.run.domains(self.tasks), workers=0, strict=True, progress=Silent())
        plan = Plan(methods, KINDS, targets, self.size, [self.run.seed], source=source)
        harness = Harness(bundle, plan, device=device, workers=0, strict=True)
        found: list[Row] = []
        with harness.ready() as measure:
            for kind in KINDS:
                for stream in streams_of(kind, StreamOptions(targets, self.size, self.run.seed)):
                    cells, _ = measure(self.run.seed, stream, Silent())
                    found += [self._row(one.target, kind, one.method, one.n, one.accuracy) for one in cells]
        return [row for row in found if row.method in methods]

    def _row(self, target: str, kind: str, method: str, n: int, accuracy: float) -> Row:
        generator = generator_of(method, self.generator)
        run = self.run
        return Row(generator, run.task, run.network, run.seed, target, kind, self.size, method, n, round(accuracy, 5))


def generator_of(method: str, generator: Path) -> str:
    return generator.stem if method.startswith("gformer") else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", type=Path, required=True)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--tasks", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", dest="which", choices=("held-out", "calibration"), default="held-out")
    parser.add_argument("--only", nargs="+", default=[], help="Tasks, networks or runs. Default: all that are done.")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--sizes", default="64,8,1")
    parser.add_argument("--limit", type=int, default=192, help="Most images of each target, the same for all methods.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    rows = read(given.out)
    for done in measured(list(wanted(given, {row.known for row in rows})), given.processes):
        append(given.out, done)
        rows += done
        print(f"{done[0].known[1]}, batches of {done[0].size}: {len(done)} cells", flush=True)
    runs = {run.name for run in SETS[given.which] if not given.only or run.is_any_of(given.only)}
    shown = [row for row in rows if row.generator in ("", given.generator.stem) and row.known[1] in runs]
    print_table([asdict(row) for row in shown])
    return 0


def wanted(given: argparse.Namespace, known: set[tuple[str, str, str, int]]) -> Iterator[Work]:
    """What is not measured yet, of runs that are done."""
    for size in map(int, given.sizes.split(",")):
        for run in SETS[given.which]:
            folder = given.runs / run.name
            if not (folder / "source.json").is_file() or (given.only and not run.is_any_of(given.only)):
                continue
            methods = [
                method
                for method in given.methods.split(",")
                if (generator_of(method, given.generator), run.name, method, size) not in known
                and (size > 1 or method in ALONE)
            ]
            if methods:
                yield Work(run, folder, given.tasks, given.generator, methods, size, given.limit, given.device)


def measured(works: Sequence[Work], processes: int) -> Iterator[list[Row]]:
    """The rows of each of `works`, as they come."""
    if processes == 1:
        yield from (rows for work in works if (rows := work.rows()))
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from (rows for done in as_completed(pool.submit(work.rows) for work in works) if (rows := done.result()))


def read(path: Path) -> list[Row]:
    """The rows of an earlier call."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        kinds: dict[str, Callable[[str], Any]] = {"seed": int, "size": int, "n": int, "accuracy": float}
        return [Row(**{key: kinds.get(key, str)(value) for key, value in one.items()}) for one in csv.DictReader(file)]


def append(path: Path, rows: Sequence[Row]) -> None:
    begun = path.is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [one.name for one in fields(Row)])
        if not begun:
            writer.writeheader()
        writer.writerows(map(asdict, rows))


if __name__ == "__main__":
    sys.exit(main())
