"""The accuracy table of docs/results.md: methods, both generators, the control, and `channel` less one ingredient.

    python benchmarks/results.py --out DIR [--data digit-cameras] [--seed 0 --seed 1 --seed 2] [--variant channel ...]

Runs the `gformer` commands that a user would type, one after another, and prints each. What is finished is kept in
DIR and not done again, so a stopped call goes on. Target labels are read by `gformer evaluate` alone, at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

BASELINES = ("source", "bn", "tent")
VARIANTS: dict[str, list[str]] = {
    "constant": ["generator.kind=constant"],
    "vector": ["generator.kind=vector"],
    "channel": [],
    "channel with gradients": ["generator.gradients=true"],
    "channel without statistics": ["generator.statistics=false"],
    "channel without features": ["generator.features=false"],
    "channel without mixing": ["generator.mixing=false"],
    "channel, bn only": ["generator.generates=bn"],
    "channel, classifier only": ["generator.generates=classifier"],
    "channel without Huber": ["meta_train.huber_weight=0"],
    "channel without shifts": ["shifts.probability=0"],
    "channel with ema": ["meta_train.ema=0.98"],
}
"""Each row of the table and what it changes; all else is the preset's."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", choices=("digit-cameras", "rotated-mnist"), default="digit-cameras")
    parser.add_argument("--seed", type=int, action="append", help="Repeatable. Default: 0, 1 and 2.")
    parser.add_argument("--variant", choices=VARIANTS, action="append", help="Repeatable. Default: all.")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--weights", help="As gformer pretrain --weights.")
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()
    seeds, variants = options.seed or [0, 1, 2], options.variant or list(VARIANTS)
    data = options.out / options.data
    if not data.is_dir():
        gformer("data", "demo", options.data, "--out", data)
    cells = {(v, s): measured(options, data, v, s) for s in seeds for v in ("baselines", *variants)}
    rows: dict[str, list[dict[str, float]]] = {name: [cells["baselines", s][name] for s in seeds] for name in BASELINES}
    rows |= {variant: [cells[variant, s]["gformer"] for s in seeds] for variant in variants}
    print_table(rows)


def measured(options: argparse.Namespace, data: Path, variant: str, seed: int) -> dict[str, dict[str, float]]:
    """Per method the accuracy on each target; trained and evaluated now unless that was done before."""
    base = options.out / f"{options.data}-{options.preset}-seed{seed}"
    if not (base / "source.json").is_file():
        weights = ["--weights", options.weights] if options.weights else []
        resume = ["--resume"] if base.is_dir() else []
        gformer("pretrain", "--source", data / "sources", "--out", base, "--preset", options.preset, "--seed", seed,
                *weights, *resume)  # fmt: skip
    blind = variant == "baselines"
    run = options.out / f"{base.name}-{'constant' if blind else variant.replace(' ', '-').replace(',', '')}"
    if not run.is_dir():
        shutil.copytree(base, run)
    if not (run / "model.gformer").is_file():
        changes = [f"--set={change}" for change in VARIANTS["constant" if blind else variant]]
        resume = ["--resume"] if (run / "checkpoints" / "meta-train.pt").is_file() else []
        gformer("meta-train", "--source", data / "sources", "--run", run, *changes, *resume)
    results = run / f"results-{options.batch_size}-{'baselines' if blind else 'gformer'}"
    if not (results / "results.json").is_file():
        methods = [f"--method={name}" for name in (BASELINES if blind else ("gformer",))]
        gformer("evaluate", "--model", run / "model.gformer", "--target", data / "targets", "--out", results, *methods,
                "--seed", seed, "--batch-size", options.batch_size, "--overwrite")  # fmt: skip
    found: dict[str, dict[str, float]] = {}
    for cell in json.loads((results / "results.json").read_text())["cells"]:
        found.setdefault(cell["method"], {})[cell["target"]] = 100.0 * cell["accuracy"]
    return found


def gformer(*arguments: object) -> None:
    words = [str(argument) for argument in arguments]
    print("$ gformer", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "gformer_cli", *words, "--quiet"], check=True, stdout=sys.stderr)


def print_table(rows: dict[str, list[dict[str, float]]]) -> None:
    """Markdown: per row the mean over seeds on each target, the average with its standard error, and the difference of
    the average to `constant`, paired by seed."""
    targets = list(rows["source"][0])
    print("| | " + " | ".join(targets) + " | average | less constant |")
    print("| --- " * (len(targets) + 3) + "|")
    control = [statistics.mean(found.values()) for found in rows.get("constant", [])]
    for name, found in rows.items():
        averages = [statistics.mean(one.values()) for one in found]
        each = [f"{statistics.mean(one[target] for one in found):.1f}" for target in targets]
        gain = [a - c for a, c in zip(averages, control, strict=True)] if control and name != "constant" else []
        print(f"| {name} | {' | '.join(each)} | {with_error(averages)} | {with_error(gain, '+')} |")


def with_error(values: list[float], sign: str = "") -> str:
    if not values:
        return ""
    error = f" ± {statistics.stdev(values) / math.sqrt(len(values)):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.1f}{error}"


if __name__ == "__main__":
    main()
