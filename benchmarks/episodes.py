"""Meta-training episodes per second, for each way of generating.

    python benchmarks/episodes.py --source data/sources --run run [--set KEY=VALUE ...] [--steps 30] [--json]

`run` is a folder that `gformer pretrain` has filled; nothing in it is changed. Each way takes its updates in turn
with the others, a few at a time, on the same episodes, so that a busy machine slows all of them alike. Printed are the
episodes per second of updates alone, without validation.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch

from gformer_cli.bundle import build_generator, build_model
from gformer_cli.compute.device import pick_workers
from gformer_cli.config import resolve
from gformer_cli.data.labelled import LabelledDomain
from gformer_cli.folders.domains import find_domains
from gformer_cli.progress import Silent
from gformer_cli.settings import Settings
from gformer_cli.train.episode_sources import EpisodeSource
from gformer_cli.train.meta_trainer import MetaTrainer
from gformer_cli.train.pretrain import read_source
from gformer_cli.train.run_folder import RunFolder, SourceData
from gformer_cli.train.source_models import SourceModels

CPU = torch.device("cpu")
WAYS: dict[str, list[str]] = {
    "probe none (default)": ["generator.probe=none"],
    "probe forward": ["generator.probe=forward"],
    "probe backward": ["generator.probe=backward"],
    "probe backward, Huber term": ["generator.probe=backward", "meta_train.huber_weight=0.1"],
}
"""The last is the paper's: gradient features, and a distance to fine-tuned parameters."""
TURN = 5
"""Updates in a row."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, action="append", required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=30, help="Updates of each way that are counted.")
    parser.add_argument("--json", action="store_true", help="One JSON document instead of a table.")
    options = parser.parse_args()
    run = RunFolder(options.run)
    base = resolve(base=run.settings(), assignments=["meta_train.huber_weight=0", *options.assignments])
    source = run.source()
    domains, _ = read_source(
        find_domains(options.source), source.classes, base, workers=pick_workers(None), strict=False, progress=Silent()
    )
    trainers = {
        way: trainer(resolve(base=base, assignments=changes), run, source, domains) for way, changes in WAYS.items()
    }
    seconds = dict.fromkeys(WAYS, 0.0)
    for start in range(-TURN, options.steps, TURN):  # the first turn is not counted
        for way, own in trainers.items():
            began = time.perf_counter()
            for number in range(start + TURN, start + 2 * TURN):
                own.step(number)
            if start >= 0:
                seconds[way] += time.perf_counter() - began
    episodes = -(-options.steps // TURN) * TURN * base.meta_train.episodes_per_step
    cells = [{"way": way, "episodes_per_second": episodes / spent} for way, spent in seconds.items()]
    if options.json:
        print(json.dumps({"cells": cells}, indent=1))
        return
    print(f"{base.backbone.name}, {base.data.image_size} px, {torch.get_num_threads()} threads\n")
    print("| | episodes per second |\n| --- | --- |")
    for cell in cells:
        print(f"| {cell['way']} | {cell['episodes_per_second']:.2f} |")


def trainer(settings: Settings, run: RunFolder, source: SourceData, domains: list[LabelledDomain]) -> MetaTrainer:
    torch.manual_seed(settings.seed)
    models = SourceModels(run, source, settings, CPU)
    generator = build_generator(settings.generator, models.full)
    model = build_model(settings.generator, generator)
    own = EpisodeSource(run.root.name, models, domains, settings, source.leave_one_domain_out)
    return MetaTrainer(model, [own], settings, run, CPU, label="generator")


if __name__ == "__main__":
    main()
