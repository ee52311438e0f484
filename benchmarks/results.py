"""The accuracy tables of docs/results/digits.csv: methods, all three generators, and `channel` less one ingredient.

    python benchmarks/results.py --out DIR [--data digit-cameras] [--seed 0 --seed 1 --seed 2] [--variant channel ...]

Runs the `gformer` commands that a user would type and prints each; `--jobs` runs so many at once, each on one thread,
so that the figures do not depend on how many. What is finished is kept in DIR and not done again, so a stopped call
goes on. Target labels are read by `gformer evaluate` alone, at the end.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gformer_cli.bundle import read_header
from gformer_cli.config import resolve
from gformer_cli.errors import InputError

BASELINES = ("source", "bn", "tent", "constant")
VARIANTS: dict[str, list[str]] = {
    "channel": [],
    "vector": ["generator.kind=vector", "generator.probe=forward"],
    "channel with a probe": ["generator.probe=forward"],
    "channel with a probe and gradients": ["generator.probe=backward"],
    "channel without statistics": ["generator.statistics=false"],
    "channel without features": ["generator.features=false"],
    "channel without mixing": ["generator.mixing=false"],
    "channel without constant": ["generator.on_constant=false"],
    "channel with constant": ["generator.on_constant=true"],
    "channel, bn only": ["generator.generates=bn"],
    "channel, classifier only": ["generator.generates=classifier"],
    "channel with Huber": ["meta_train.huber_weight=0.1"],
    "channel without shifts": ["shifts.probability=0"],
    "channel without few-class episodes": ["meta_train.skewed=0"],
    "channel with plain cross-entropy": ["meta_train.loss=cross_entropy"],
    "channel without average": ["meta_train.ema=0"],
    "channel with average": ["meta_train.ema=0.98"],
    "channel without few-class validation": ["meta_train.validation_skewed=0"],
    "channel with few-class validation": ["meta_train.validation_skewed=0.2"],
}
"""Each row of the table and what it changes; all else is the preset's, and a row that changes nothing is left out.

The first trains the constant generator as well.
"""
FULL = "channel"
SETTINGS: dict[str, list[str]] = {
    "digit-cameras": [],
    # the angle is the domain: a simulated rotation would show the targets
    "rotated-mnist": ["shifts.families=[photometric, blur, noise, style]"],
}
"""What each data set needs beside the preset."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", choices=SETTINGS, default="digit-cameras")
    parser.add_argument("--seed", type=int, action="append", help="Repeatable. Default: 0, 1 and 2.")
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="Repeatable. Default: all.")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--weights", help="As gformer pretrain --weights.")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for every row. Repeatable.")
    parser.add_argument("--batch-size", type=int, action="append", help="Repeatable. Default: 64 and 8.")
    parser.add_argument("--stream", action="append", help="Repeatable. Default: stationary and label-shift.")
    parser.add_argument("--jobs", type=int, default=2, help="Commands at once, each on one thread.")
    options = parser.parse_args()
    seeds = options.seed or [0, 1, 2]
    cases = list(itertools.product(options.stream or ["stationary", "label-shift"], options.batch_size or [64, 8]))
    try:
        preset = resolve(preset=options.preset, assignments=needed(options))
    except InputError as error:
        parser.error(str(error))
    different = [name for name, changes in VARIANTS.items() if resolve(base=preset, assignments=changes) != preset]
    variants = list(dict.fromkeys([FULL, *(options.variant or different)]))
    data = options.out / options.data
    if not data.is_dir():
        gformer("data", "demo", options.data, "--out", data)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda seed: pretrained(options, data, seed), seeds))
        runs = [(variant, seed) for variant in variants for seed in seeds]
        measured = dict(
            zip(runs, pool.map(lambda run: figures(options, data, run[0], run[1], cases), runs), strict=True)
        )
    for stream, size in cases:
        cells = {run: found[stream, size] for run, found in measured.items()}
        rows = {name: [cells[FULL, seed][name] for seed in seeds] for name in BASELINES}
        rows |= {variant: [cells[variant, seed]["gformer"] for seed in seeds] for variant in variants}
        print(f"\n{options.data}, preset {options.preset}, {stream}, batches of {size}, {len(seeds)} seeds\n")
        print_table(rows)
    headers = {run: read_header(run_folder(options, *run) / "model.gformer").validation for run in runs}
    chosen_by = {name: [headers[FULL, seed][name] for seed in seeds] for name in ("source", "bn", "constant")}
    chosen_by |= {variant: [headers[variant, seed]["gformer"] for seed in seeds] for variant in variants}
    print(f"\n{options.data}, preset {options.preset}, held-out source images, by which a row's last step is chosen\n")
    print_selection(chosen_by, seeds)


def needed(options: argparse.Namespace) -> list[str]:
    """The settings of every row, as KEY=VALUE: the data set's and the user's."""
    return [*SETTINGS[options.data], *options.set]


def run_folder(options: argparse.Namespace, variant: str | None, seed: int) -> Path:
    """Of a row and seed; without `variant`, that of the seed's source models.

    Its name holds the user's settings, so that nothing which was made with others is taken for it.
    """
    settings = [setting.replace("/", "_") for setting in options.set]
    row = (variant or "").replace(",", "").split()
    folder: Path = options.out / "-".join([options.data, Path(options.preset).stem, f"seed{seed}", *settings, *row])
    return folder


def pretrained(options: argparse.Namespace, data: Path, seed: int) -> Path:
    """The run folder of a seed with its source models; trained now unless that was done before."""
    base = run_folder(options, None, seed)
    if not (base / "source.json").is_file():
        weights = ["--weights", options.weights] if options.weights else []
        resume = ["--resume"] if base.is_dir() else []
        settings = [f"--set={setting}" for setting in needed(options)]
        gformer("pretrain", "--source", data / "sources", "--out", base, "--preset", options.preset, "--seed", seed,
                *settings, *weights, *resume)  # fmt: skip
    return base


def figures(
    options: argparse.Namespace, data: Path, variant: str, seed: int, cases: list[tuple[str, int]]
) -> dict[tuple[str, int], dict[str, dict[str, float]]]:
    """Per stream and batch size, and method, the accuracy on each target; what was done before is not done again."""
    base = pretrained(options, data, seed)
    run = run_folder(options, variant, seed)
    if not run.is_dir():
        shutil.copytree(base, run)
    methods = [*BASELINES, "gformer"] if variant == FULL else ["gformer"]
    if not (run / "model.gformer").is_file():
        comparison = [] if variant == FULL else ["--set=meta_train.constant=false"]
        changes = [f"--set={change}" for change in VARIANTS[variant]]
        resume = ["--resume"] if (run / "checkpoints").is_dir() else []
        # no row asks the guard, whose calibration takes a minute; each is a generator that is trained from nothing
        alike = ["--set=meta_train.guard_batches=0", "--start", "none"]
        gformer("meta-train", "--source", data / "sources", "--run", run, *changes, *comparison, *alike, *resume)
    found: dict[tuple[str, int], dict[str, dict[str, float]]] = {}
    for stream, size in cases:
        results = run / f"results-{stream}-{size}"
        if not (results / "results.json").is_file():
            gformer("evaluate", "--model", run / "model.gformer", "--target", data / "targets", "--out", results,
                    "--methods", ",".join(methods), "--streams", stream, "--seed", seed, "--batch-size", size,
                    "--overwrite")  # fmt: skip
        found[stream, size] = {}
        for cell in json.loads((results / "results.json").read_text())["cells"]:
            found[stream, size].setdefault(cell["method"], {})[cell["target"]] = 100.0 * cell["accuracy"]
    return found


def gformer(*arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    print("$ gformer", *words, file=sys.stderr, flush=True)
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "gformer_cli", *words, "--quiet"], check=True, stdout=sys.stderr, env=one_thread
    )


def print_table(rows: dict[str, list[dict[str, float]]]) -> None:
    """Markdown: per row the mean over seeds on each target, the average with its standard error, and the difference of
    the average to `constant`, paired by seed."""
    targets = list(rows["source"][0])
    print("| | " + " | ".join(targets) + " | average | less constant |")
    print("| --- " * (len(targets) + 3) + "|")
    constant = [statistics.mean(found.values()) for found in rows["constant"]]
    for name, found in rows.items():
        averages = [statistics.mean(one.values()) for one in found]
        each = [f"{statistics.mean(one[target] for one in found):.1f}" for target in targets]
        gain = [] if name == "constant" else [a - c for a, c in zip(averages, constant, strict=True)]
        print(f"| {name} | {' | '.join(each)} | {with_error(averages)} | {with_error(gain, '+')} |")


def print_selection(rows: dict[str, list[float]], seeds: list[int]) -> None:
    """Markdown: per row the validation accuracy of each seed and their mean with its standard error."""
    print("| | " + " | ".join(f"seed {seed}" for seed in seeds) + " | average |")
    print("| --- " * (len(seeds) + 2) + "|")
    for name, found in rows.items():
        percent = [100.0 * accuracy for accuracy in found]
        print(f"| {name} | {' | '.join(f'{one:.1f}' for one in percent)} | {with_error(percent)} |")


def with_error(values: list[float], sign: str = "") -> str:
    if not values:
        return ""
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.1f}{error}"


if __name__ == "__main__":
    main()
