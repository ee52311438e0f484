"""The gformer commands of the story, as a user would type them, and their figures."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from results import with_error

from owner import classifier, letters, photographs

METHODS = (
    "source", "bn", "bn-mix", "tent", "eata", "sar", "lame", "rotta", "shot-im", "constant", "gformer", "gformer-guard"
)  # fmt: skip
UNTRAINED = tuple(method for method in METHODS if method not in {"constant", "gformer-guard"})
"""What an import offers before meta-train."""
ON_PHOTOGRAPHS = ("source", "bn", "bn-mix", "lame")
"""As few as show what adapting does: 110 shifts of images of 224 pixels take long on a CPU. `bn-mix` is the import."""
STREAMS = ("stationary", "label-shift")
SIZES = (64, 8)
"""Images in a batch."""


def call(log: Path, *arguments: object) -> dict[str, Any]:
    """Run a gformer command, and return its JSON document; what it says goes to `log`."""
    words = [str(argument) for argument in arguments]
    print("$ gformer", *words, file=sys.stderr, flush=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as sink:
        print("$ gformer", *words, file=sink, flush=True)
        done = subprocess.run(
            [sys.executable, "-m", "gformer_cli", *words, "--json", "--debug"],
            check=True,
            stdout=subprocess.PIPE,
            stderr=sink,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def import_model(out: Path, seed: int, expected: float) -> float:
    """Take in a seed's checkpoint; its accuracy on the owner's held-out images as gformer measures it, 0 to 1.

    The command fails where that is not what the owner `expected`.
    """
    run = out / "runs" / f"seed-{seed}" / "imported"
    file, transform = run.with_name("import.json"), out / "transform.json"
    if not file.is_file():
        transform.write_text(json.dumps(classifier.DESCRIPTION))
        weights = ["--backbone", "resnet18", "--weights", out / "models" / f"seed-{seed}.pth"]
        check = ["--check", out / "data" / "held-out", "--expect", expected]
        more = ["--transform", transform, "--generator", "none", "--out", run]
        document = call(run.with_name("log"), "import", *weights, *more, *check)
        file.write_text(json.dumps(document, indent=1))
    return float(json.loads(file.read_text())["accuracy"]["accuracy"])


def meta_train(out: Path, seed: int, label: str, splits: Sequence[str], more: Sequence[str]) -> None:
    """Train a generator for a copy of the imported run, on images of the owner's `splits`; from nothing, unless `more`
    names another start."""
    run = out / "runs" / f"seed-{seed}" / label
    if run.is_dir() and not run.with_name(f"{label}.trained").is_file():
        shutil.rmtree(run)  # of a call that was stopped
    if not run.is_dir():
        shutil.copytree(run.with_name("imported"), run)
        sources = [word for split in splits for word in ("--source", out / "data" / split)]
        alike = "--run", run, "--seed", seed, "--start", "none"
        call(run.with_name("log"), "meta-train", *sources, *alike, *more)
        run.with_name(f"{label}.trained").touch()


def evaluate(out: Path, seed: int, label: str, size: int, more: Sequence[str]) -> None:
    """Measure all methods on the unseen sites, and at home: on held-out images of the sites that were trained on."""
    run = out / "runs" / f"seed-{seed}" / label
    results = run.with_name(f"{label}-{size}")
    if not (results / "results.json").is_file():
        targets = ["--target", out / "data" / "unseen", "--target", out / "data" / "held-out"]
        methods = UNTRAINED if label == "imported" else METHODS
        call(run.with_name("log"), "evaluate", "--model", run / "model.gformer", *targets, "--source",
             out / "data" / "validation", "--methods", ",".join(methods), "--streams", ",".join(STREAMS),
             "--batch-size", size, "--seed", seed, "--out", results, "--overwrite", *more)  # fmt: skip


def accuracies(results: Path, stream: str, targets: Iterable[str]) -> dict[str, float]:
    """In %, per method, averaged over those targets."""
    found: dict[str, list[float]] = {}
    wanted = set(targets)
    for cell in json.loads((results / "results.json").read_text())["cells"]:
        if cell["stream"] == stream and cell["target"] in wanted:
            found.setdefault(cell["method"], []).append(100.0 * cell["accuracy"])
    return {method: statistics.mean(each) for method, each in found.items()}


def print_letters(out: Path, seeds: Sequence[int], label: str) -> None:
    """Markdown: what the owner's code, the import and each method reach; mean ± standard error over seeds, in %."""
    own = [json.loads((out / "models" / f"seed-{seed}.json").read_text())["own_accuracy"] for seed in seeds]
    imported = [100.0 * import_model(out, seed, own_home["held-out"]["all"])
                for seed, own_home in zip(seeds, own, strict=True)]  # fmt: skip
    print(f"Seeds {', '.join(map(str, seeds))}.\n\n| held-out images | seed by seed | mean |\n| --- | --- | --- |")
    for name, values in (
        ("owner's code", [100.0 * one["held-out"]["all"] for one in own]),
        ("after import", imported),
        ("owner's code, unseen sites", [100.0 * one["unseen"]["all"] for one in own]),
    ):
        print(f"| {name} | {', '.join(f'{value:.2f}' for value in values)} | {with_error(values)} |")
    methods = UNTRAINED if label == "imported" else METHODS
    for title, targets in (("Unseen sites", letters.UNSEEN_SITES), ("At home", letters.SITES)):
        columns = [(stream, size) for stream in STREAMS for size in SIZES]
        print(f"\n| {title} | " + " | ".join(f"{stream}, {size}" for stream, size in columns) + " |")
        print("| --- " * (len(columns) + 1) + "|")
        found = [
            [accuracies(out / "runs" / f"seed-{seed}" / f"{label}-{size}", stream, targets) for seed in seeds]
            for stream, size in columns
        ]
        print_gains(methods, found)


def print_gains(methods: Sequence[str], columns: Sequence[Sequence[dict[str, float]]]) -> None:
    """A row per method: its accuracy in each column, and in brackets the gain over `source`, paired by seed."""
    for method in methods:
        cells = []
        for column in columns:
            gain = with_error([one[method] - one["source"] for one in column], "+")
            cells.append(with_error([one[method] for one in column]) + (f" ({gain})" if method != "source" else ""))
        print(f"| {method} | {' | '.join(cells)} |")


def shifts(out: Path) -> None:
    """Import both ImageNet networks, let them recognise the photographs, and adapt them under simulated shifts."""
    known = json.loads((out / "photographs.json").read_text())
    for network in photographs.NETWORKS:
        right, count = known[network.name]["exact"], known[network.name]["photographs"]
        imported = import_network(out, network, right / count)
        print(
            f"\n{network.name}: {right} of {count} photographs by its own library, {imported * count:.0f} imported.\n"
        )
        print("| | photographs under simulated shifts |\n| --- | --- |")
        print_gains(ON_PHOTOGRAPHS, [[shifted(out, network)]])


def import_network(out: Path, network: photographs.Network, expected: float) -> float:
    """Its accuracy on the photographs, 0 to 1. The command fails where that is not the `expected` one."""
    run = out / "runs" / network.folder
    file, transform = run.with_name(f"{run.name}.json"), run.with_name(f"{run.name}-transform.json")
    if not file.is_file():
        stated: str | Path = transform
        if isinstance(network.stated, str):
            stated = network.stated
        else:
            transform.parent.mkdir(parents=True, exist_ok=True)
            transform.write_text(json.dumps(network.stated))
        document = call(run.with_name(f"{run.name}.log"), "import", "--backbone", network.name, "--weights",
                        out / "packages" / network.weights, "--classes", "imagenet1k", "--transform", stated,
                        "--generator", "none", "--check", out / "photographs", "--expect", expected,
                        "--out", run)  # fmt: skip
        file.write_text(json.dumps(document, indent=1))
    return float(json.loads(file.read_text())["accuracy"]["accuracy"])


def shifted(out: Path, network: photographs.Network) -> dict[str, float]:
    """Accuracy in %, per method, averaged over all simulated shifts of the photographs, which are one batch."""
    run = out / "runs" / network.folder
    results = run.with_name(f"{run.name}-shifts")
    if not (results / "results.json").is_file():
        call(run.with_name(f"{run.name}.log"), "evaluate", "--model", run / "model.gformer", "--shifts", "--source",
             out / "photographs", "--methods", ",".join(ON_PHOTOGRAPHS), "--batch-size", SIZES[0], "--out", results,
             "--overwrite")  # fmt: skip
    cells = json.loads((results / "results.json").read_text())["cells"]
    found = {name: [100.0 * cell["accuracy"] for cell in cells if cell["method"] == name] for name in ON_PHOTOGRAPHS}
    return {name: statistics.mean(values) for name, values in found.items()}
