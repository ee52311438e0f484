"""What remembering the last batches is worth where they are small: accuracy by `--context`.

    python benchmarks/context.py --model run/model.gformer --target data/targets [--batch-size 1] [--context 0 ...]

The labelled images of each target come in a shuffled order in batches of `--batch-size`, as `gformer watch`
would see them, without the guard. Every context sees the same batches; targets follow one another.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from gformer_cli.adapt import Predictor
from gformer_cli.bundle import Bundle, load_bundle
from gformer_cli.compute.device import pick_workers
from gformer_cli.data.streams import arrival_order
from gformer_cli.folders.domains import Domain, find_domains
from gformer_cli.images.preprocessing import read_batches
from gformer_cli.metrics import mean

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--target", type=Path, action="append", required=True)
    parser.add_argument("--batch-size", type=int, action="append", help="Repeatable. Default: 1.")
    parser.add_argument("--context", type=int, action="append", help="Repeatable. Default: 0, 4, 16 and 64.")
    parser.add_argument("--images", type=int, help="At most so many of each target.")
    parser.add_argument("--seed", type=int, default=0, help="Of the order of arrival.")
    parser.add_argument("--json", action="store_true", help="One JSON document instead of a table.")
    options = parser.parse_args()
    bundle, domains = load_bundle(options.model), find_domains(options.target)
    cells = []
    for batch_size in options.batch_size or [1]:
        for context in options.context or [0, 4, 16, 64]:
            predictor = Predictor(bundle, CPU, context=context)
            for domain in domains:
                source, adapted = accuracy(bundle, predictor, domain, batch_size, options)
                where = {"batch_size": batch_size, "context": context, "target": domain.name}
                cells.append({**where, "source": source, "gformer": adapted})
    if options.json:
        print(json.dumps({"cells": cells}, indent=1))
        return
    print(f"| batch | context | {' | '.join(domain.name for domain in domains)} | average | source |")
    print("| --- " * (len(domains) + 4) + "|")
    for batch_size, context in dict.fromkeys((cell["batch_size"], cell["context"]) for cell in cells):
        own = [cell for cell in cells if (cell["batch_size"], cell["context"]) == (batch_size, context)]
        found = " | ".join(f"{100 * cell['gformer']:.1f}" for cell in own)
        average, source = (100 * mean(cell[name] for cell in own) for name in ("gformer", "source"))
        print(f"| {batch_size} | {context} | {found} | {average:.1f} | {source:.1f} |")


def accuracy(
    bundle: Bundle, predictor: Predictor, domain: Domain, batch_size: int, options: argparse.Namespace
) -> tuple[float, float]:
    """Of the source model and of the generated parameters, on one target."""
    classes = bundle.header.classes
    files = arrival_order(domain, options.seed)[: options.images]
    right = [0, 0]
    for batch in read_batches(
        files, bundle.preprocessing, batch_size=batch_size, workers=pick_workers(None), skipped=[]
    ):
        outcome = predictor.predict(batch, domain.name)
        for place, probabilities in enumerate((outcome.source_probabilities, outcome.probabilities)):
            labels = [classes[index] for index in probabilities.argmax(dim=1).tolist()]
            right[place] += sum(label == file.label for label, file in zip(labels, batch.files, strict=True))
    return right[0] / len(files), right[1] / len(files)


if __name__ == "__main__":
    main()
